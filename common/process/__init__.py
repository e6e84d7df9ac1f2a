"""The processes that do the work: supervised child, rank, signals, sleep."""
