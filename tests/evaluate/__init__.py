"""From generations to results."""
