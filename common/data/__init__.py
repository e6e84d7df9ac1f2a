"""From any file to cleaned examples, prompts, encoded examples and micro-batches."""
