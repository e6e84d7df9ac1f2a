"""Published write-ups as settings, one YAML file each, with what they reported and what differs here."""
