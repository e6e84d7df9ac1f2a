"""Peak memory of a training run, by component, from the sizes of the model, the adapter and the largest batch.

Knows nothing of data, devices' sizes or time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from common.budget.activations import MemorySettings, MicroBatch, mlx_step, torch_step
from common.engine_base.sizes import group_size
from common.model.adapter import adapted_linears, count_trainable
from common.model.architecture import Linear, ModelShape

MIB = 2**20
CACHE_STEP = 256  # tokens by which MLX's key/value cache grows


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by component. Training and generation do not happen at once; the larger one decides.

    base_weights  frozen weights, with the scales of quantization
    adapters      trainable weights and their copies in the compute dtype
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
    activations, head = (mlx_step if settings.engine == "mlx" else torch_step)(shape, settings, batch)
    is_mlx = settings.engine == "mlx"
    dynamic = activations + head
    return MemoryEstimate(
        base_weights=base_weight_bytes(shape, settings),
        adapters=trainable * (4 if is_mlx else 4 + settings.compute_bytes) + _joined_matrices(shape, settings),
        optimizer=trainable * (8 if settings.optimizer == "adamw" else 2),
        # MLX holds the sum so far beside the gradient of the micro-batch.
        gradients=trainable * (8 if is_mlx and settings.accumulation else 4),
        activations=activations,
        head=head,
        generation=generation_bytes(shape, settings, generation) if generation else 0,
        overhead=overhead_bytes(settings.kind, dynamic),
    )


def _joined_matrices(shape: ModelShape, settings: MemorySettings) -> int:
    """The torch engine's room for A matrices below unquantized weights, which generation computes with as one."""
    if settings.engine == "mlx" or settings.quantize != "none":
        return 0
    widths = sum(linear.in_features for linear in adapted_linears(shape, settings.lora))
    return widths * settings.lora.rank * settings.compute_bytes


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
        group = group_size(linear.in_features)
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
