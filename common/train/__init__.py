"""From prepared data to a finished run: the loop, its objective and its schedule."""
