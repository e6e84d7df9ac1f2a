"""What both engines write alike: checks, sizes, and their state on disk."""
