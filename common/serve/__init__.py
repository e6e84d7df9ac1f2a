"""A local page and a JSON API over one or more summarizers. Needs the extra `ui`."""
