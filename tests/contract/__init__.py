"""The same cases over both engines: what it means to be an engine."""
