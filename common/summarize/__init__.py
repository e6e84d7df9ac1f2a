"""Use of a trained run: texts in, summaries out, long documents and several runs at once included."""
