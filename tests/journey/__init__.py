"""Whole runs through the commands, interrupted and resumed."""
