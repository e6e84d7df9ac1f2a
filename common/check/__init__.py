"""Whether a document supports a summary: support for each sentence, with the passages that it rests on."""
