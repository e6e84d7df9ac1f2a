"""From a run directory to report.html, its plots, and comparisons of runs."""
