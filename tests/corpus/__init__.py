"""The embedded corpus holds what it promises."""
