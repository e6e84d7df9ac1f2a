"""Sums over data-parallel processes, once an optimizer step. Knows nothing of batches or models.

Processes are started by `torchrun`; alone, there is one of them and nothing is sent. Sums, not the averages that
DDP wrappers make, so that ranks may hold different numbers of micro-batches and target tokens.
"""

from __future__ import annotations

import atexit
import os

import torch
import torch.distributed as dist


def join_group(device: torch.device) -> tuple[int, int]:
    """(rank, world size) of this process in the group that torchrun started, (0, 1) without one.

    NCCL between GPUs, Gloo between CPUs. The group ends with the process.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return dist.get_rank(), dist.get_world_size()


def sum_over_ranks(world_size: int, *tensors: torch.Tensor) -> None:
    """Replace each tensor by its sum over all ranks, in place."""
    if world_size > 1:
        for tensor in tensors:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
