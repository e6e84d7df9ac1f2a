"""Scores against reference implementations and worked examples."""
