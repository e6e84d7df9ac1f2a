"""Engine against engine: the same numbers from the same weights."""
