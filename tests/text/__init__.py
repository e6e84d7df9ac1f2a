"""Names, amounts, tables and scripts."""
