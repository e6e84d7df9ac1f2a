"""What one training step keeps and takes for a while, in bytes, on either engine: activations and output head.

Derived from the engines' code, layer by layer, and checked against what their allocators measured
(benchmarks/planner_accuracy.py). MLX orders its work by itself, so that its numbers are measured averages with an
allowance; torch's are exact but for rounding. Knows nothing of weights, optimizers or devices' sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.engine import EngineName, LoraSpec
from common.engine_base.sizes import CPU_QUERIES, CPU_SCORES, MLX_QUERIES, chunk_rows
from common.model.adapter import adapted_linears, count_trainable
from common.model.architecture import ModelShape


@dataclass(frozen=True)
class MicroBatch:
    """Sizes of one micro-batch: rows, their padded length in tokens, target rows over all of them.

    shared_tokens  first tokens that all rows have in common, which run once
    """

    rows: int
    tokens: int
    target_rows: int
    shared_tokens: int = 0

    @property
    def padded_tokens(self) -> int:
        return self.rows * self.tokens

    @property
    def run_tokens(self) -> int:
        """Tokens that run through the layers."""
        return self.padded_tokens - self.spared_tokens

    @property
    def spared_tokens(self) -> int:
        return self.shared_tokens * (self.rows - 1)


@dataclass(frozen=True)
class MemorySettings:
    """What decides memory beside the model and the batch.

    compute_bytes  bytes of a number in the compute dtype (2 or 4); `float16` matters to Phi, whose attention the
    torch engine then computes in float32
    accumulation   whether an optimizer step has several micro-batches
    """

    engine: EngineName
    kind: str
    quantize: str
    compute_bytes: int
    lora: LoraSpec
    gradient_checkpointing: bool = False
    optimizer: str = "adamw"
    float16: bool = False
    accumulation: bool = True


@dataclass(frozen=True)
class _Layer:
    """Widths that a layer's activations are multiples of, in numbers for each token."""

    hidden: int
    queries: int
    keys: int
    wide: int
    ranks: int


def _layer(shape: ModelShape, lora: LoraSpec) -> _Layer:
    adapted = len({linear.leaf for linear in adapted_linears(shape, lora)})
    return _Layer(
        shape.hidden_size,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
        shape.intermediate_size,
        adapted * lora.rank,
    )


def _trained_layers(shape: ModelShape, lora: LoraSpec) -> int:
    """Layers that take part in the backward pass: from the first adapter on."""
    return lora.layers or shape.layers


@dataclass(frozen=True)
class _MlxBackward:
    """What one layer's backward pass takes beside what was kept, in widths for each token; `again` where gradient
    checkpointing has just run the layer's forward pass.

    Measured, as the largest seen: MLX allocates for up to a hundred operations ahead of the one that it computes, and
    frees what an operation used up only when that is done, so that this is more than the operations need by
    themselves, and depends on how busy the machine is.
    """

    hidden: float
    wide: float
    again_hidden: float
    again_wide: float


_MLX_GATED = _MlxBackward(hidden=10.0, wide=5.1, again_hidden=3.5, again_wide=5.5)
_MLX_GELU_GATED = _MlxBackward(hidden=5.2, wide=8.0, again_hidden=3.5, again_wide=8.3)  # Gemma's takes more steps
_MLX_PHI = _MlxBackward(hidden=12.5, wide=4.8, again_hidden=9.5, again_wide=5.1)


def chunk_logits(shape: ModelShape, target_rows: int, kind: str) -> int:
    """Logits that exist at once, those of all target rows or of one chunk of rows; `kind` is a key of CHUNK_LOGITS."""
    return min(target_rows, chunk_rows(shape.vocab_size, kind)) * shape.vocab_size


def following_logits(shape: ModelShape, target_rows: int, chunk: int) -> int:
    """Logits of the chunk after the first one (0 where one chunk holds all rows)."""
    return max(0, min(chunk, target_rows * shape.vocab_size - chunk))


def mlx_step(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[int, int]:
    """Activations and head of one micro-batch on MLX, bytes.

    The peak is where the backward pass enters the layer before the last one: everything is kept then, but no gradient
    of the adapter exists except the last layer's. The last layer runs on target rows only, but for its queries, keys
    and values.
    """
    layer = _layer(shape, settings.lora)
    layers, numbers = _trained_layers(shape, settings.lora), batch.run_tokens * settings.compute_bytes
    spread = 2 * layer.keys * batch.spared_tokens * settings.compute_bytes  # a beginning's keys and values in all rows
    attention, kept = _mlx_kept(shape, settings, batch)
    costs = {"phi": _MLX_PHI, "gemma": _MLX_GELU_GATED}.get(shape.model_type, _MLX_GATED)
    backward = costs.hidden * layer.hidden + costs.wide * layer.wide
    if settings.gradient_checkpointing:
        backward = costs.again_hidden * layer.hidden + costs.again_wide * layer.wide
    if settings.compute_bytes == 2:  # five blocks of scores are float32 even then
        backward += 5 * shape.heads * min(MLX_QUERIES, batch.tokens)
    if batch.spared_tokens:  # attention's parts, as they are and put together
        backward += 2 * layer.queries
    below = (layers - 1) * (layer.hidden * numbers if settings.gradient_checkpointing else kept * numbers + spread)
    again = kept * numbers + spread if settings.gradient_checkpointing else 0.0
    trainable = count_trainable(shape, settings.lora)
    in_layer = below + again + backward * numbers - 4 * trainable * (1 - 1 / layers)
    at_the_end = (kept + backward) * numbers + spread
    activations = max(in_layer, at_the_end) if layers > 1 else (attention + backward) * numbers + spread
    chunk = chunk_logits(shape, batch.target_rows, "mlx")
    head = chunk * (12 if settings.compute_bytes == 4 else 16)
    head += following_logits(shape, batch.target_rows, chunk) * 8
    at_head = below + attention * numbers + spread + head - 4 * trainable
    return int(activations), int(max(0.0, at_head - activations))


def _mlx_kept(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[float, float]:
    """Numbers that the attention part of a layer, and all of it, keep for each token until its backward pass."""
    layer = _layer(shape, settings.lora)
    adapted = {linear.leaf for linear in adapted_linears(shape, settings.lora)}
    wider = 4 / settings.compute_bytes  # float32 among numbers of the compute dtype
    attention: float = (
        layer.hidden + layer.queries + 2 * layer.keys
    )  # the layer's input, turned queries and keys, values
    if adapted & ({"q_proj", "k_proj", "v_proj"} | (set() if shape.gated_mlp else {"fc1"})):
        attention += layer.hidden
    if batch.tokens > MLX_QUERIES:  # the output and a normaliser for each query
        attention += layer.queries + shape.heads * wider
    else:
        attention += shape.heads * batch.tokens
    norms = 2 * layer.hidden if settings.kind == "cpu" and settings.compute_bytes == 2 else 0  # inputs in float32
    attention += norms
    if not shape.gated_mlp:  # Phi's queries are in float32
        attention += layer.queries * (wider - 1)
    if settings.kind == "cpu":  # sines and cosines of queries and of keys, which Metal computes again
        attention += 2 * shape.head_dim * shape.partial_rotary_factor * wider / batch.rows
    rest: float = layer.queries if adapted & {"o_proj", "dense"} else 0
    if shape.gated_mlp:
        rest += layer.hidden + norms + 2 * layer.wide
        rest += layer.hidden if adapted & {"gate_proj", "up_proj"} else 0
    else:
        rest += layer.wide
    rest += layer.wide if adapted & {"down_proj", "fc2"} else 0
    if settings.lora.dropout:  # a byte for each input, whether it was dropped
        inputs = {linear.leaf: linear.in_features for linear in adapted_linears(shape, settings.lora)}
        rest += sum(inputs.values()) / settings.compute_bytes
    return attention, attention + rest + layer.ranks


def _cpu_attention(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> int:
    """What the backward pass of `cuda_sum.attention` takes, bytes: gradients, two of them in float32, and one block."""
    layer, tokens = _layer(shape, settings.lora), batch.tokens
    size = 4 if settings.float16 and not shape.gated_mlp else settings.compute_bytes  # Phi's is in float32 then
    gradients = batch.run_tokens * 2 * layer.queries * size + batch.padded_tokens * 2 * layer.keys * (size + 4)
    queries = -(-tokens // -(-tokens // CPU_QUERIES))
    one = shape.heads * queries * tokens
    scores = one * min(batch.rows, max(1, CPU_SCORES // one))
    return gradients + scores * (12 if size == 4 else 16)


def torch_step(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[int, int]:
    """Activations and head of one micro-batch on torch, bytes.

    Attention is fused, so that no scores are kept. The last layer's feed-forward part runs on target rows only.
    """
    layer, size = _layer(shape, settings.lora), settings.compute_bytes
    attention = 2 * layer.hidden + 2 * layer.queries + 2 * layer.keys
    if settings.float16 and not shape.gated_mlp:  # Phi's in float32, and on a GPU what attention gives
        attention += (6 if settings.kind == "cuda" else 4) * layer.hidden
    if shape.gated_mlp:
        kept = attention + 2 * layer.hidden + 2 * layer.wide + layer.ranks
        backward = 4 * layer.wide + max(layer.hidden, layer.queries)
    else:
        kept = attention + layer.wide + layer.ranks
        backward = 3 * layer.wide
    layers, tokens = _trained_layers(shape, settings.lora), batch.run_tokens
    # A beginning's keys and values stand in every row; for a GPU's attention its queries and outputs too.
    spread = 2 * (layer.keys + (layer.queries if settings.kind == "cuda" else 0)) * batch.spared_tokens
    whole = kept * tokens + spread
    below = (layers - 1) * (layer.hidden * tokens if settings.gradient_checkpointing else whole)
    ahead = whole if settings.gradient_checkpointing else 0
    weight = layer.hidden * layer.wide * size if settings.quantize != "none" else 0
    in_layer = (below + ahead + backward * tokens) * size + weight
    if settings.kind == "cpu":
        in_attention = (below + (attention + layer.hidden) * tokens + spread) * size
        in_layer = max(in_layer, in_attention + _cpu_attention(shape, settings, batch))
    chunk = chunk_logits(shape, batch.target_rows, "cuda" if settings.kind == "cuda" else "cpu")
    head = chunk * (4 if size == 4 else 6) + following_logits(shape, batch.target_rows, chunk) * 4
    rows = batch.target_rows * (4 * layer.hidden + 2 * layer.wide) * size
    at_head = (below + attention * tokens + spread) * size + rows + head
    return int(in_layer), int(max(0.0, at_head - in_layer))
