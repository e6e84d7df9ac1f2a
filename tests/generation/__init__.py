"""Settings, prompts, batches, and the import rules."""
