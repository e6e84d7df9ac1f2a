"""This process's place among those that a launcher (torchrun, mlx.launch, mpirun) started."""

from __future__ import annotations

import os

_RANK_VARIABLES = ("RANK", "MLX_RANK", "OMPI_COMM_WORLD_RANK")


def under_launcher() -> bool:
    """Whether a launcher started this process and gave it a rank."""
    return any(name in os.environ for name in _RANK_VARIABLES)


def process_rank() -> int:
    """The rank, 0 without a launcher. Rank 0 alone writes the run directory."""
    return next((int(os.environ[name]) for name in _RANK_VARIABLES if name in os.environ), 0)
