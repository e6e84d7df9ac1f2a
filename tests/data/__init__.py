"""Files of every kind, also hostile ones, to examples; nothing lost without being counted."""
