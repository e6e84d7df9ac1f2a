"""The page in a real browser, its words, its plots, comparisons, human ratings."""
