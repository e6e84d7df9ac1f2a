"""Run directories: names and readers of their files."""
