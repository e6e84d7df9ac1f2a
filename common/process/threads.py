"""How OpenMP's threads wait for each other: briefly awake, then asleep, so that others can compute meanwhile.

torch on a CPU splits every product among as many threads as there are cores, and a thread that is done spins until
the others are: for 5 to 15 ms with GNU's OpenMP (300,000 turns), for 200 ms with LLVM's and Intel's. On a quiet
machine that saves waking it up. Where another process computes too, the thread that is waited for may have no core,
and the spinning one keeps it from getting one: training falls to a fifth of its speed. 10,000 turns (under 0.5 ms)
outlast the pauses between two products, and end well within a scheduler's time slice (about 3 ms).

The variables are read when torch is loaded, so they have to be set before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SETTINGS = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}  # turns; milliseconds
CHOICES = (*SETTINGS, "OMP_WAIT_POLICY")  # who has set one of these has chosen how threads wait


def waiting_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to a process's environment; none where its user has set one of CHOICES."""
    return {} if any(name in environment for name in CHOICES) else dict(SETTINGS)


def let_waiting_threads_sleep() -> None:
    """Set them for this process and those that it starts."""
    os.environ.update(waiting_settings(os.environ))
