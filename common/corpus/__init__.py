"""The embedded corpus of fictional documents with summaries, for the demo, the docs and the tests."""
