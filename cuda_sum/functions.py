"""Norm, rotary embedding, gated activation and causal attention as functions that keep little for the backward pass.

Each equals the plain computation (weights are frozen, so only inputs have gradients). Knows no modules. No twin in
the MLX engine, whose library has these fused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

ACTIVATIONS = ("silu", "gelu_tanh")


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Root-mean-square norm over the last axis (Zhang and Sennrich 2019), computed in float32, times `weight`."""
    if x.is_cuda and x.dtype == weight.dtype:
        return nn.functional.rms_norm(x, weight.shape, weight, epsilon)
    return _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-any-return]


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = x.float()
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = scale.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return torch.mul(wide, scale).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        wide = x.float()
        weighted = grad.float() * weight
        shared = (weighted * wide).mean(-1, keepdim=True).mul_(scale).mul_(scale)
        return weighted.addcmul_(wide, shared, value=-1.0).mul_(scale).to(x.dtype), None, None


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021) of the first R channels of (B, T, heads, D); the others pass unchanged.

    `cosine` and `sine` are (B or 1, T, R) as transformers makes them: both halves of the last axis are equal.
    """
    half = cosine.shape[-1] // 2
    cosine, sine = cosine[..., :half].unsqueeze(2), sine[..., :half].unsqueeze(2)
    return _Rotate.apply(x, cosine, sine)  # type: ignore[no-any-return]


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turned(grad, cosine, sine, -1.0), None, None


def _turned(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, direction: float) -> torch.Tensor:
    half = cosine.shape[-1]
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    first, second = x[..., :half], x[..., half : 2 * half]
    torch.mul(first, cosine, out=out[..., :half]).addcmul_(second, sine, value=-direction)
    torch.mul(second, cosine, out=out[..., half : 2 * half]).addcmul_(first, sine, value=direction)
    if 2 * half < x.shape[-1]:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out


def activate(kind: str, x: torch.Tensor) -> torch.Tensor:
    """`silu` or `gelu_tanh` of x."""
    return nn.functional.silu(x) if kind == "silu" else nn.functional.gelu(x, approximate="tanh")


def activation_backward(kind: str, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`grad` times the derivative of `activate` at x."""
    if kind == "silu":
        return torch.ops.aten.silu_backward(grad, x)  # type: ignore[no-any-return]
    return torch.ops.aten.gelu_backward(grad, x, approximate="tanh")  # type: ignore[no-any-return]


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    mask: torch.Tensor | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """(B, heads, T, D) with keys and values (B, kv heads, S, D) -> (B, T, heads * D), contiguous.

    Without a mask T equals S and attention is causal, over the last `window` positions where given; rows padded on
    the right need no mask. With a mask (B, 1, T, S), True where a key counts, that decides; with T 1 the counting
    keys are the first ones of each row.
    """
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    if mask is None and window is not None and length > window:
        position = torch.arange(length, device=query.device)
        distance = position[:, None] - position[None, :]
        mask = ((distance >= 0) & (distance < window))[None, None]
    elif mask is not None and window is not None and key.shape[2] > window:
        columns = torch.arange(key.shape[2], device=query.device)
        mask = mask & (columns >= mask.sum(-1, keepdim=True) - window)
    if mask is None:
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=length > 1, scale=scale, enable_gqa=heads != groups
        )
    elif length == 1:  # one query each: the heads of a group are the queries of their shared keys
        folded = query.reshape(batch, groups, heads // groups, width)
        out = nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scale)
        return out.reshape(batch, 1, heads * width)
    else:
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scale, enable_gqa=heads != groups
        )
    return out.transpose(1, 2).reshape(batch, length, heads * width)
