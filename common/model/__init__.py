"""What a model is before an engine holds it: shape, preset, tokenizer, adapter."""
