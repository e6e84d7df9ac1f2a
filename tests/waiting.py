"""Waiting for what another thread or process makes true. The bound only ends a test that would hang."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 300.0  # seconds; many times what the slowest wait takes on a machine that is busy with other work


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return when the condition holds; fails when it stays false."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
