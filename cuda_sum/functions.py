"""Norm, rotary embedding, gated activation and causal attention as functions that keep little for the backward pass.

Each equals the plain computation (weights are frozen, so only inputs have gradients). Knows no modules. The MLX
engine's file of this name has fewer, because its library has fused ones; here torch.compile fuses them when asked.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from common.errors import EngineError
from common.generation.shared import Beginning
from cuda_sum.attention import blockwise_attention

BLOCK = 1 << 18  # numbers in a block of rows on a CPU, 1 MiB in float32

FEW_QUERIES = 16  # of a decoding step
FEW = 1 << 16  # numbers up to which calls cost a CPU more than reading memory


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Root-mean-square norm over the last axis (Zhang and Sennrich 2019), computed in float32, times `weight`."""
    if x.dtype == weight.dtype and (x.is_cuda or (x.numel() <= FEW and not torch.is_grad_enabled())):
        return nn.functional.rms_norm(x, weight.shape, weight, epsilon)
    if not torch.is_grad_enabled():
        return _run["norm"](x, weight, epsilon)[0]  # type: ignore[no-any-return]
    return _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-any-return]


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        out, scale = _run["norm"](x, weight, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return out  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _run["norm_backward"](grad, *ctx.saved_tensors), None, None


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    wide = x.float()
    scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return torch.mul(wide, scale).mul_(weight).to(x.dtype), scale


def _norm_backward(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    wide = x.float()
    weighted = grad.float() * weight
    shared = (weighted * wide).mean(-1, keepdim=True).mul_(scale).mul_(scale)
    return weighted.addcmul_(wide, shared, value=-1.0).mul_(scale).to(x.dtype)


def _norm_by_blocks(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`_norm`, some rows at a time: what is float32 stays in a CPU's cache."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    scale = x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)
    flat, flat_out, flat_scale = x.reshape(-1, x.shape[-1]), out.view(-1, x.shape[-1]), scale.view(-1, 1)
    for part in _row_blocks(flat):
        flat_out[part], flat_scale[part] = _norm(flat[part], weight, epsilon)
    return out, scale


def _norm_backward_by_blocks(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """`_norm_backward`, some rows at a time."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    flat, flat_out, flat_scale = x.reshape(-1, x.shape[-1]), out.view(-1, x.shape[-1]), scale.view(-1, 1)
    flat_grad = grad.reshape(-1, x.shape[-1])
    for part in _row_blocks(flat):
        flat_out[part] = _norm_backward(flat_grad[part], flat[part], weight, flat_scale[part])
    return out


def _row_blocks(flat: torch.Tensor) -> Iterator[slice]:
    rows = max(1, len(flat) if flat.is_cuda else BLOCK // flat.shape[-1])
    return (slice(start, start + rows) for start in range(0, len(flat), rows))


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021) of the first R channels of (B, T, heads, D); the others pass unchanged.

    `cosine` and `sine` are (B or 1, T, R) as transformers makes them: both halves of the last axis are equal.
    """
    half = cosine.shape[-1] // 2
    cosine, sine = cosine[..., :half].unsqueeze(2), sine[..., :half].unsqueeze(2)
    if not torch.is_grad_enabled():
        return _run["turn"](x, cosine, sine)  # type: ignore[no-any-return]
    return _Rotate.apply(x, cosine, sine)  # type: ignore[no-any-return]


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _run["turn"](x, cosine, sine)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _run["turn"](grad, cosine, -sine), None, None


def _turn(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    half = cosine.shape[-1]
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    first, second = x[..., :half], x[..., half : 2 * half]
    torch.mul(first, cosine, out=out[..., :half]).addcmul_(second, sine, value=-1.0)
    torch.mul(second, cosine, out=out[..., half : 2 * half]).addcmul_(first, sine)
    if 2 * half < x.shape[-1]:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out


def _turn_whole(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """`_turn` as the compiler takes it: slower as it stands, faster fused."""
    half = cosine.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], -1)


def activate(kind: str, x: torch.Tensor) -> torch.Tensor:
    """`silu` or `gelu_tanh` of x."""
    return nn.functional.silu(x) if kind == "silu" else nn.functional.gelu(x, approximate="tanh")


def gate(kind: str, x: torch.Tensor, up: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """activation(x) * up (without `up` just that), and activation(x)."""
    return _run["gate"](kind, x, up)  # type: ignore[no-any-return]


def gate_backward(
    kind: str, grad: torch.Tensor, x: torch.Tensor, up: torch.Tensor | None, activated: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradients of x and of up in activation(x) * up."""
    return _run["gate_backward"](kind, grad, x, up, activated)  # type: ignore[no-any-return]


def _gate(kind: str, x: torch.Tensor, up: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    activated = activate(kind, x)
    return (activated if up is None else activated * up), activated


def _gate_backward(
    kind: str, grad: torch.Tensor, x: torch.Tensor, up: torch.Tensor | None, activated: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if kind == "silu":  # the product is freed before the next one is made
        grad_x = torch.ops.aten.silu_backward(grad if up is None else grad * up, x)
    else:
        grad_x = torch.ops.aten.gelu_backward(grad if up is None else grad * up, x, approximate="tanh")
    return grad_x, None if up is None else grad * activated


_eager: dict[str, Callable[..., Any]] = {
    "norm": _norm_by_blocks,
    "norm_backward": _norm_backward_by_blocks,
    "turn": _turn,
    "gate": _gate,
    "gate_backward": _gate_backward,
}
_run = dict(_eager)


def compile_functions(enabled: bool) -> None:
    """Let torch.compile fuse the functions above into one kernel each, for all models of this process, or stop that.

    They are compiled when first used, for any shape; products of matrices and attention stay as they are. Raises
    EngineError where there is no compiler to do it with.
    """
    if enabled and not torch.cuda.is_available() and not any(shutil.which(name) for name in ("g++", "clang++", "cl")):
        raise EngineError("compiling on a CPU needs a C++ compiler (g++ or clang++); leave --compile off")
    whole = _eager | {"norm": _norm, "norm_backward": _norm_backward, "turn": _turn_whole}
    _run.update({name: torch.compile(whole[name], dynamic=True) if enabled else _eager[name] for name in _eager})


def causal_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    mask: torch.Tensor | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """(B, heads, T, D) with keys and values (B, kv heads, S, D) -> (B, T, heads * D), contiguous.

    Without a mask the queries are the last T of S positions and attention is causal, over the last `window` positions
    where given; rows padded on the right need no mask. With a mask (B, 1, T, S), True where a key counts, that decides;
    the counting keys are the first ones of each row.
    """
    batch, heads, length, width = query.shape
    groups, keys = key.shape[1:3]
    if mask is None and not query.is_cuda and length > 1 and keys <= (window or keys):
        return blockwise_attention(query, key, value, scale)
    if mask is None and (keys > (window or keys) or keys > length):
        position = torch.arange(keys, device=query.device)
        distance = position[keys - length :, None] - position[None, :]
        mask = ((distance >= 0) & (distance < (window or keys)))[None, None]
    elif mask is not None and window is not None and key.shape[2] > window:
        columns = torch.arange(key.shape[2], device=query.device)
        mask = mask & (columns >= mask.sum(-1, keepdim=True) - window)
    if mask is None:
        out = _fused_attention(query, key, value, scale, None, length > 1)
    elif length <= FEW_QUERIES:  # all heads of a group are queries of their shared keys
        folded = query.reshape(batch, groups, heads // groups * length, width)
        if length > 1:
            mask = mask.repeat(1, 1, heads // groups, 1)
        out = nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scale)
        out = out.reshape(batch, heads, length, width)
    else:
        out = _fused_attention(query, key, value, scale, mask, False)
    return out.transpose(1, 2).reshape(batch, length, heads * width)


def _fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None, causal: bool
) -> torch.Tensor:
    """torch's fused attention, (B, heads, T, D) with keys and values (B, kv heads, S, D) -> (B, heads, T, D).

    Of its kernels for GPUs only FlashAttention reads keys that several heads share; where that cannot run, torch would
    take the plain computation, which keeps all T x S scores.
    """
    shared = query.shape[1] != key.shape[1]
    if shared and query.is_cuda:  # not on a T4 (it needs compute capability 8.0), in float32, or with a mask
        call = torch.backends.cuda.SDPAParams(query, key, value, mask, 0.0, causal, True)
        if not torch.backends.cuda.can_use_flash_attention(call):
            return attention_by_groups(query, key, value, scale, mask, causal)
    fused = nn.functional.scaled_dot_product_attention
    return fused(query, key, value, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=shared)


def attention_by_groups(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, mask: torch.Tensor | None, causal: bool
) -> torch.Tensor:
    """`_fused_attention`, one call for the heads of each key and value: these are repeated by their strides alone."""
    heads = query.shape[1] // key.shape[1]
    parts = [
        nn.functional.scaled_dot_product_attention(
            query[:, heads * group : heads * (group + 1)],
            key[:, group : group + 1].expand(-1, heads, -1, -1),
            value[:, group : group + 1].expand(-1, heads, -1, -1),
            attn_mask=mask,
            is_causal=causal,
            scale=scale,
        )
        for group in range(key.shape[1])
    ]
    return torch.cat(parts, 1)


def joined_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    beginning: Beginning,
    window: int | None = None,
) -> torch.Tensor:
    """`causal_attention` of rows that stand in one, their common beginning once and then what is each row's own.

    (1, heads, M, D) with keys and values (1, kv heads, M, D) -> (1, M, heads * D), contiguous.
    """
    shared = beginning.tokens
    if query.is_cuda:  # where there are more keys than queries, the fused kernel is not causal without a mask
        query, key, value = (_separate(part, beginning) for part in (query, key, value))
        rows = causal_attention(query, key, value, scale, None, window)
        first, own = rows[:1, :shared], rows[:, shared:]
    else:
        first_query, first_key, first_value = (part[:, :, :shared] for part in (query, key, value))
        first = causal_attention(first_query, first_key, first_value, scale, None, window)
        key, value = (_separate(part, beginning) for part in (key, value))
        own = causal_attention(_own(query, beginning), key, value, scale, None, window)
    return torch.cat([first, own.reshape(1, -1, own.shape[-1])], 1)


def _own(part: torch.Tensor, beginning: Beginning) -> torch.Tensor:
    """(1, heads, M, D) -> (B, heads, T - P, D), a view."""
    return part[0, :, beginning.tokens :].unflatten(1, (beginning.rows, -1)).transpose(0, 1)


def _separate(part: torch.Tensor, beginning: Beginning) -> torch.Tensor:
    """(1, heads, M, D) -> (B, heads, T, D), the beginning in every row."""
    first = part[:, :, : beginning.tokens].expand(beginning.rows, -1, -1, -1)
    return torch.cat([first, _own(part, beginning)], 2)
