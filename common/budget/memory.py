"""Peak memory of a training run, by component, from the sizes of the model, the adapter and the largest batch.

What each engine keeps for the backward pass was derived from its code, layer by layer, and checked against what its
allocator measured (benchmarks/planner_accuracy.py): numbers in `_MLX` and `_TORCH` are multiples of the layer's
widths. MLX orders its work by itself, so that its numbers are measured averages, and an allowance covers the rest.
Knows nothing of data, devices' sizes or time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from common.adapter import adapted_linears, count_trainable
from common.architecture import Linear, ModelShape
from common.engine import EngineName, LoraSpec

MIB = 2**20
ATTENTION_BLOCK = 128  # queries whose scores MLX's training attention holds at once
CACHE_STEP = 256  # tokens by which MLX's key/value cache grows
GENERATION_ROWS = 64  # most prompts generated together


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
class MemoryEstimate:
    """Bytes by component. Training and generation do not happen at once; the larger one decides.

    base_weights  frozen weights, with the scales of quantization
    adapters      trainable weights and their copy in the compute dtype
    optimizer     both moments
    gradients     of the adapter
    activations   kept for the backward pass, and what one layer's backward pass takes beside them
    head          logits of a chunk of target rows and what their gradient takes
    generation    key/value cache and prompt pass of the largest generation batch (0 where nothing is generated)
    overhead      of the framework: context, workspaces, fragmentation; no allocator counts it
    """

    base_weights: int
    adapters: int
    optimizer: int
    gradients: int
    activations: int
    head: int
    generation: int
    overhead: int

    @property
    def training_bytes(self) -> int:
        """Peak of the allocator while training."""
        held = self.base_weights + self.adapters + self.optimizer + self.gradients
        return held + self.activations + self.head

    @property
    def generation_bytes(self) -> int:
        """Peak of the allocator while summaries are generated."""
        return self.base_weights + self.adapters + self.optimizer + self.generation

    @property
    def allocated_bytes(self) -> int:
        """What the engine's allocator will report as its peak."""
        return max(self.training_bytes, self.generation_bytes if self.generation else 0)

    @property
    def total_bytes(self) -> int:
        """What the device must have."""
        return self.allocated_bytes + self.overhead

    def as_dict(self) -> dict[str, int]:
        """For --json."""
        sums = {"training": self.training_bytes, "allocated": self.allocated_bytes, "total": self.total_bytes}
        return asdict(self) | sums


def estimate_memory(
    shape: ModelShape, settings: MemorySettings, batch: MicroBatch, generation: MicroBatch | None = None
) -> MemoryEstimate:
    """Peak memory of training with `batch` as the largest micro-batch, and of generating for `generation`.

    `generation.tokens` is prompt plus new tokens. Raises AdapterError when the adapter does not fit the model.
    """
    trainable = count_trainable(shape, settings.lora)
    activations, head = (_mlx_step if settings.engine == "mlx" else _torch_step)(shape, settings, batch)
    is_mlx = settings.engine == "mlx"
    dynamic = activations + head
    return MemoryEstimate(
        base_weights=base_weight_bytes(shape, settings),
        adapters=trainable * (4 if is_mlx else 4 + settings.compute_bytes),
        optimizer=trainable * (8 if settings.optimizer == "adamw" else 2),
        # MLX holds the sum so far beside the gradient of the micro-batch.
        gradients=trainable * (8 if is_mlx and settings.accumulation else 4),
        activations=activations,
        head=head,
        generation=generation_bytes(shape, settings, generation) if generation else 0,
        overhead=overhead_bytes(settings.kind, dynamic),
    )


def overhead_bytes(kind: str, dynamic: int) -> int:
    """What lies outside the allocator's figure: a context and libraries, and blocks that cannot be reused."""
    fixed = {"cuda": 600 * MIB, "metal": 400 * MIB, "cpu": 700 * MIB}[kind]
    return fixed + int(0.05 * dynamic)


def base_weight_bytes(shape: ModelShape, settings: MemorySettings) -> int:
    """Bytes of the frozen model: linear layers as quantized, everything else in the compute dtype."""
    size = settings.compute_bytes
    linears = sum(_linear_bytes(linear, settings) for linear in shape.linears())
    rest = shape.norm_parameters + shape.embedding_parameters + shape.head_parameters
    return linears + rest * size


def _linear_bytes(linear: Linear, settings: MemorySettings) -> int:
    weights, size = linear.out_features * linear.in_features, settings.compute_bytes
    bias = linear.out_features * size if linear.bias else 0
    bits = {"4bit": 4, "8bit": 8, "none": 0}[settings.quantize]
    if settings.engine == "mlx":
        group = next((group for group in (64, 32) if linear.in_features % group == 0), 0)
        if not bits or not group:
            return weights * size + bias
        return weights * bits // 8 + 2 * size * weights // group + bias  # a scale and an offset for each group
    if bits == 4:
        # NF4 with its block scales quantized again (Dettmers et al. 2023): 8 bits for 64 weights, 32 for 64 * 256.
        tables = (16 + 256 + 1) * 4
        return weights // 2 + weights // 64 + weights * 4 // (64 * 256) + tables + bias
    if bits == 8:
        return weights + linear.out_features * 4 + bias
    return weights * size + bias


def generation_bytes(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> int:
    """Key/value cache of the whole batch, and the prompt's pass through the widest layer."""
    size, rows = settings.compute_bytes, batch.rows
    tokens = -(-batch.tokens // CACHE_STEP) * CACHE_STEP if settings.engine == "mlx" else batch.tokens
    cache = 2 * shape.layers * rows * tokens * shape.kv_heads * shape.head_dim * size
    widths = 3 * shape.intermediate_size + 4 * shape.hidden_size + 2 * shape.heads * shape.head_dim
    prompt = rows * batch.tokens * widths * size
    logits = rows * shape.vocab_size * (4 + size)
    scores = 0
    if settings.kind == "cpu" and settings.engine == "mlx":  # no fused attention there
        scores = 2 * 4 * rows * shape.heads * batch.tokens**2
    return int(cache + prompt + logits + scores)


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


_MLX_GATED = _MlxCosts(hidden=7.6, keys=4.0, wide=4.55, scores=0.35, backward_hidden=5.0, backward_wide=5.2)
_MLX_GELU_GATED = replace(_MLX_GATED, wide=5.7)  # Gemma's: the tanh form of GELU keeps one value more
_MLX_PHI = _MlxCosts(hidden=8.0, keys=0.0, wide=5.2, scores=0.5, backward_hidden=10.0, backward_wide=0.6)
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


def _mlx_step(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[int, int]:
    """Activations and head of one micro-batch on MLX, bytes."""
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
    below = layers * (layer.hidden if settings.gradient_checkpointing else kept)
    activations = (below + ahead + backward) * numbers * _MLX_ALLOWANCE
    chunk = chunk_logits(shape, batch.target_rows, MLX_CHUNK_LOGITS)
    head = chunk * (12 if settings.compute_bytes == 4 else 16)
    head += following_logits(shape, batch.target_rows, chunk) * 8
    return int(activations), int(max(0.0, head - ahead * numbers))  # nothing is computed again before the head is done


def _torch_step(shape: ModelShape, settings: MemorySettings, batch: MicroBatch) -> tuple[int, int]:
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
