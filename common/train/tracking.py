"""Optional trackers. Off by default: nothing leaves the machine unless it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.errors import ConfigError
from common.run.directory import RunDirectory
from common.settings import RunConfig


def tracker_hook(config: RunConfig, run: RunDirectory) -> Callable[[dict[str, Any]], None] | None:
    """A function that logs one row of metrics, or None. Raises ConfigError when the tracker is not installed."""
    if config.output.tracker == "tensorboard":
        return _tensorboard(run)
    if config.output.tracker == "wandb":
        return _wandb(run)
    return None


def _tensorboard(run: RunDirectory) -> Callable[[dict[str, Any]], None]:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        raise ConfigError("--tracker tensorboard needs: pip install 'sumkit[tensorboard]'") from None
    import time

    writer = EventFileWriter(str(run.path / "tensorboard"))

    def log(row: dict[str, Any]) -> None:
        values = [
            Summary.Value(tag=name, simple_value=float(value))
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float)
        ]
        writer.add_event(Event(wall_time=time.time(), step=row["step"], summary=Summary(value=values)))
        writer.flush()

    return log


def _wandb(run: RunDirectory) -> Callable[[dict[str, Any]], None]:
    try:
        import wandb
    except ImportError:
        raise ConfigError("--tracker wandb needs: pip install 'sumkit[wandb]'") from None
    session = wandb.init(project="sumkit", name=run.path.name, dir=str(run.path), resume="allow")
    return lambda row: session.log(row, step=row["step"])
