"""A run on disk: its directory, lock, checkpoints, and what is prepared for it."""
