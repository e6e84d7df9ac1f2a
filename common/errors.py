"""Every error a person may see, and the exit status it leads to.

A message names the place, the value received, what is allowed and the remedy. These classes carry no
behaviour beyond that; anything else that escapes is a bug of ours and keeps its traceback.
"""


class SumkitError(Exception):
    """An expected failure: printed as plain lines without a traceback, exit status 1."""

    exit_code = 1


class UsageError(SumkitError):
    """The command line cannot be understood: exit status 2."""

    exit_code = 2


class ConfigError(SumkitError):
    """Settings that are unknown, of the wrong type, out of range or contradictory."""


class DataError(SumkitError):
    """A data file that is missing, unreadable, or holds rows that cannot be used."""


class ModelError(SumkitError):
    """A model that is missing, unsupported, damaged, or does not fit the request."""


class AdapterError(SumkitError):
    """Adapter weights whose names or shapes do not belong to the base model."""


class CheckpointError(SumkitError):
    """A run directory or checkpoint that is missing, damaged, locked or does not match the settings."""


class EngineError(SumkitError):
    """An engine that is not installed or cannot run on this machine."""


class RemoteError(SumkitError):
    """A model server that cannot be reached, refuses a request, or answers with what cannot be read."""


class NonFiniteError(SumkitError):
    """Loss or gradient norm became NaN or infinite; raised before the optimizer is touched."""
