"""Chinchilla's tables, FLOPs against torch's count, memory and time plans, learning curves."""
