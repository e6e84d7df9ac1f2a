"""What one training step keeps and takes for a while, in bytes, on either engine: activations and output head.

Derived from the engines' code, layer by layer, and checked against what their allocators measured
(benchmarks/planner_accuracy.py). MLX orders its work by itself, so that its numbers are measured averages with an
allowance; torch's are exact but for rounding. Knows nothing of weights, optimizers or devices' sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.adapter import adapted_linears
from common.architecture import ModelShape
from common.engine import EngineName, LoraSpec

ATTENTION_BLOCK = 128  # queries whose scores MLX's training attention holds at once


@dataclass(frozen=True)
class MicroBatch:
    """Sizes of one micro-batch: rows, their padded length in tokens, target rows over all of them."""

    rows: int
    tokens: int
    target_rows: int

    @property
    def padded_tokens(self) -> int:
        return self.rows * self.tokens


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


# Numbers that MLX keeps for each token and layer, and those of one layer's backward pass beside them.
@dataclass(frozen=True)
class _MlxCosts:
    hidden: float
    keys: float
    wide: float
    scores: float
    backward_hidden: float
    backward_wide: float


_MLX_GATED = _MlxCosts(hidden=7.6, keys=4.0, wide=4.55, scores=0.35, backward_hidden=5.8, backward_wide=6.0)
_MLX_GELU_GATED = replace(_MLX_GATED, wide=5.9)  # Gemma's: the tanh form of GELU keeps one value more
_MLX_PHI = _MlxCosts(hidden=8.0, keys=0.0, wide=5.2, scores=0.5, backward_hidden=15.0, backward_wide=0.9)
# With gradient checkpointing MLX computes layers again ahead of the one whose gradient is due: how many at most.
_MLX_RECOMPUTED_LAYERS = 2.0
_MLX_ALLOWANCE = 1.02
# In 16 bit, scores and norms are in float32; on a CPU, where norms are not fused, their float32 inputs are kept too.
_MLX_16_BIT_KEPT = {"cpu": 1.27, "metal": 1.0, "cuda": 1.0}
_MLX_16_BIT_BACKWARD = {"cpu": 2.1, "metal": 1.5, "cuda": 1.5}
MLX_CHUNK_LOGITS = 1 << 24
TORCH_CHUNK_LOGITS = {"cpu": 1 << 23, "cuda": 1 << 25}


def chunk_logits(shape: ModelShape, target_rows: int, chunk: int) -> int:
    """Logits that exist at once: those of all target rows, or of one chunk of rows (a multiple of 16)."""
    return min(target_rows, max(16, chunk // shape.vocab_size // 16 * 16)) * shape.vocab_size


def following_logits(shape: ModelShape, target_rows: int, chunk: int) -> int:
    """Logits of the chunk after the first one (0 where one chunk holds all rows)."""
    return max(0, min(chunk, target_rows * shape.vocab_size - chunk))


def mlx_step(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[int, int]:
    """Activations and head of one micro-batch on MLX, bytes. The last layer runs on target rows only, but for its
    queries, keys and values, which count as part of the backward pass here."""
    layer = _layer(shape, settings.lora)
    costs = {"phi": _MLX_PHI, "gemma": _MLX_GELU_GATED}.get(shape.model_type, _MLX_GATED)
    adapted = {linear.leaf for linear in adapted_linears(shape, settings.lora)}
    hidden = (layer.hidden + layer.queries) / 2
    scores = shape.heads * min(ATTENTION_BLOCK, batch.tokens) * 4 / settings.compute_bytes
    kept = (
        costs.hidden * hidden + costs.keys * layer.keys + costs.wide * layer.wide + costs.scores * scores + layer.ranks
    )
    # Inputs that only an adapter's gradient needs.
    if not adapted & {"down_proj", "fc2"}:
        kept -= layer.wide
    if not adapted & {"gate_proj", "up_proj"} and shape.gated_mlp:
        kept -= layer.hidden
    if not adapted & {"q_proj", "k_proj", "v_proj"}:
        kept -= layer.hidden
    backward = costs.backward_hidden * hidden + costs.backward_wide * layer.wide
    if settings.compute_bytes == 2:
        kept, backward = kept * _MLX_16_BIT_KEPT[settings.kind], backward * _MLX_16_BIT_BACKWARD[settings.kind]
    layers, numbers = _trained_layers(shape, settings.lora), batch.padded_tokens * settings.compute_bytes
    ahead = min(_MLX_RECOMPUTED_LAYERS, 0.75 * layers) * kept if settings.gradient_checkpointing else 0.0
    below = layers * layer.hidden if settings.gradient_checkpointing else (layers - 1) * kept
    activations = (below + ahead + backward) * numbers * _MLX_ALLOWANCE
    chunk = chunk_logits(shape, batch.target_rows, MLX_CHUNK_LOGITS)
    head = chunk * (12 if settings.compute_bytes == 4 else 16)
    head += following_logits(shape, batch.target_rows, chunk) * 8
    return int(activations), int(max(0.0, head - ahead * numbers))  # nothing is computed again before the head is done


def torch_step(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[int, int]:
    """Activations and head of one micro-batch on torch, bytes.

    Attention is fused, so that no scores are kept. The last layer's feed-forward part runs on target rows only.
    """
    layer, size = _layer(shape, settings.lora), settings.compute_bytes
    attention = 2 * layer.hidden + 2 * layer.queries + 2 * layer.keys
    if shape.gated_mlp:
        kept = attention + 2 * layer.hidden + 2 * layer.wide + layer.ranks
        backward = 4 * layer.wide + max(layer.hidden, layer.queries)
    else:  # its activation function keeps four intermediate values
        kept = attention + 5 * layer.wide + layer.ranks
        backward = 23 * layer.hidden // 2
        if settings.float16:
            kept += 6 * layer.hidden
    layers, tokens = _trained_layers(shape, settings.lora), batch.padded_tokens
    below = (layers - 1) * (layer.hidden if settings.gradient_checkpointing else kept)
    ahead = kept if settings.gradient_checkpointing else 0
    weight = layer.hidden * layer.wide * size if settings.quantize != "none" else 0
    in_layer = (below + ahead + backward) * tokens * size + weight
    chunk = chunk_logits(shape, batch.target_rows, TORCH_CHUNK_LOGITS["cuda" if settings.kind == "cuda" else "cpu"])
    head = chunk * (4 if size == 4 else 6) + following_logits(shape, batch.target_rows, chunk) * 4
    rows = batch.target_rows * (4 * layer.hidden + 2 * layer.wide) * size
    at_head = (below + attention) * tokens * size + rows + head
    return int(in_layer), int(max(0.0, at_head - in_layer))
