"""The recipes are valid settings and say what they reproduce."""
