"""Each export is run, and gives what the run gives."""
