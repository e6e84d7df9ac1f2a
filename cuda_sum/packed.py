"""Weights laid out once as a CPU's library (oneDNN) wants them, which otherwise are laid out anew in every product.

Decoding multiplies the same weights with a few rows many times. No twin in the MLX engine.
"""

from __future__ import annotations

import platform

import torch

X86 = ("x86_64", "amd64")
DTYPES = (torch.float32, torch.bfloat16)


def pack(weight: torch.Tensor) -> torch.Tensor | None:
    """A (out, in) weight for `packed_linear`, as a copy; None where the processor or torch cannot do it in its dtype.

    On other processors than x86 too, where whether it is faster was not measured.
    """
    if weight.is_cuda or weight.dtype not in DTYPES or platform.machine().lower() not in X86:
        return None
    try:
        return torch.ops.mkldnn._reorder_linear_weight(weight, None)  # type: ignore[no-any-return]
    except (AttributeError, RuntimeError):  # torch without oneDNN; no instructions for bfloat16
        return None


def packed_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (M, in) times a packed weight, plus bias: (M, out). Has no gradient."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]
