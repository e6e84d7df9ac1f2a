"""The order and the bookkeeping of generated texts, shared by both engines."""
