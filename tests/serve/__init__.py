"""The local server: its API, its page in a real browser, its limits."""
