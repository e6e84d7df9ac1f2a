"""Side-by-side measurements against peers. Run one from the repository root: `python -m benchmarks.NAME --help`."""
