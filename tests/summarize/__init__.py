"""Files, long documents and ensembles through `sumkit summarize`."""
