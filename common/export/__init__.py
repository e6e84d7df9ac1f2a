"""Exports: a run's adapter in the layout, or merged into the model file, that other programs read."""
