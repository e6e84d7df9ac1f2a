"""How things are written and read, the same everywhere: names, amounts, tables, scripts."""
