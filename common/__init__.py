"""sumkit: fine-tune a small language model into your own summarizer. Importing this package imports nothing heavy."""
