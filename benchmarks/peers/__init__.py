"""Programs that run in a peer's own environment, which has no sumkit: nothing of it is imported here."""
