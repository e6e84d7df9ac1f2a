"""What an engine must give, which engines there are, and how one is chosen.

An engine is only array code: it is handed a model directory, plain numbers and numpy batches. It knows nothing
of data files, schedules, run directories or metrics. Nothing here imports mlx or torch; an engine's package is
imported only by `load_engine`, after it was chosen.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from common.errors import EngineError
from common.process.threads import let_waiting_threads_sleep
from common.types import Batch, DeviceInfo, EvalStats, Generation, StepStats

EngineName = Literal["mlx", "cuda"]
PACKAGES: dict[str, str] = {"mlx": "mlx_sum", "cuda": "cuda_sum"}
REQUIRED_MODULES: dict[str, tuple[str, ...]] = {
    "mlx": ("mlx", "mlx_lm"),
    "cuda": ("torch", "transformers", "peft"),
}


@dataclass(frozen=True)
class LoraSpec:
    """LoRA as both engines build it. `target_modules` holds leaf names (`q_proj`) or is the word `all-linear`.

    layers          how many of the last transformer layers get adapters, 0 means all
    rank_stabilised scale by alpha/sqrt(rank) (Kalajdzievski 2023) in place of alpha/rank (Hu et al. 2021)
    dora            train the length of each row of the weights beside its direction (Liu et al. 2024)
    token_ids       added tokens whose embedding (and head) rows are trained too, as `common.model.token_rows` says
    seed            of the initial A matrices, drawn in `common.model.adapter` so that both engines start alike
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    layers: int = 0
    rank_stabilised: bool = False
    dora: bool = False
    token_ids: tuple[int, ...] = ()
    seed: int = 0

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)


@dataclass(frozen=True)
class OptimizerSpec:
    """AdamW with decoupled weight decay (Loshchilov and Hutter 2019), bias-corrected on both engines.

    `lora_plus_ratio` multiplies the learning rate of all but the A matrices (LoRA+, Hayou et al. 2024).
    """

    name: Literal["adamw", "adamw-8bit", "paged-adamw-8bit"] = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0  # 0 switches clipping off
    lora_plus_ratio: float = 1.0


@dataclass(frozen=True)
class EngineSpec:
    """Everything an engine is built from. `lora` None builds an engine for inference on the base model only.

    neftune_alpha  noise on embeddings in training steps, uniform in +-alpha / sqrt(L d) for a sequence of L tokens of
                   d numbers (NEFTune, Jain et al. 2023); 0 is none
    """

    model_dir: Path
    quantize: Literal["4bit", "8bit", "none"] = "4bit"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    lora: LoraSpec | None = None
    optimizer: OptimizerSpec = OptimizerSpec()
    gradient_checkpointing: bool = False
    compile: bool = False
    neftune_alpha: float = 0.0
    seed: int = 0


COLDEST = 1e-5  # temperatures below mean greedy


@dataclass(frozen=True)
class GenerationSpec:
    """How summaries are generated. `max_new_tokens` never counts the prompt. Greedy unless `temperature` > 0.

    `eos_ids` stop a row and are not part of its result; `max_batch_tokens` bounds rows x (prompt + new) tokens.
    """

    max_new_tokens: int = 96
    eos_ids: tuple[int, ...] = ()
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_batch_tokens: int = 16384
    max_batch_rows: int = 64

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken: also where dividing by the temperature would overflow."""
        return self.temperature < COLDEST


class Engine(Protocol):
    """A base model with (or without) a LoRA adapter on one device."""

    name: str
    device: DeviceInfo
    trainable_parameters: int
    total_parameters: int
    rank: int  # of this process among `world_size` data-parallel ones
    world_size: int

    def step(self, batches: Sequence[Batch], learning_rate: float) -> StepStats:
        """One optimizer step over the micro-batches of this rank; sums are reduced over ranks.

        The gradient is that of sum(weights * nll) over all of them. Reads loss and gradient norm back once
        (one host sync a step). Raises NonFiniteError before touching the optimizer when either is NaN or
        infinite (except where the fp16 scaler skips the step: then `skipped` is set).
        """

    def evaluate(self, batches: Sequence[Batch]) -> EvalStats:
        """Sum of nll over the target rows, dropout off, no gradient."""

    def token_losses(self, batches: Sequence[Batch]) -> list[np.ndarray]:
        """For each micro-batch the nll of every target row, (N,) float32 nats, dropout off, no gradient."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        spec: GenerationSpec,
        on_done: Callable[[int, Generation], None] | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Generation]:
        """Continue each prompt; results in input order. `on_done(index, generation)` reports each as it ends.

        `on_token(index, token)` reports each token of a result as it is found (beam search: when the result ends).
        What either of them raises ends the generation and reaches the caller; the engine stays usable.
        """

    def gradients(self, batches: Sequence[Batch]) -> dict[str, np.ndarray]:
        """Gradient of sum(weights * nll) by PEFT name, float32, dropout off. For checks, not for training."""

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """(B, T) int -> (B, T, V) float32, adapter as currently enabled. For checks, not for training."""

    def adapter(self) -> dict[str, np.ndarray]:
        """The adapter's weights, float32, by PEFT name (`base_model.model.….lora_A.weight`, shape (r, in))."""

    def load_adapter(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replace the adapter's weights. Raises AdapterError when names or shapes differ from the adapter's own."""

    def enable_adapter(self, enabled: bool) -> None:
        """Switch the adapter on or off; off gives the untuned model exactly."""

    def save(self, directory: Path) -> None:
        """Write optimizer and random state (not the adapter) as safetensors into an existing directory."""

    def restore(self, directory: Path) -> None:
        """Read what `save` wrote; after it, and `load_adapter`, the next step equals the uninterrupted one."""

    def peak_memory_bytes(self) -> int:
        """Peak memory since the last `reset_peak_memory` (device allocator where there is one, else process)."""

    def reset_peak_memory(self) -> None: ...


def installed(name: str) -> bool:
    """Whether the third-party modules that an engine needs can be found (they are not imported)."""
    return all(importlib.util.find_spec(module) is not None for module in REQUIRED_MODULES[name])


def is_apple_silicon() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def choose_engine(requested: str = "auto") -> tuple[EngineName, str]:
    """Name of the engine to use and one line that says why.

    `auto` takes MLX on Apple silicon, CUDA where an NVIDIA GPU answers, else torch on the CPU. Raises
    EngineError, with the command that installs it, when the engine's packages are missing.
    """
    if requested == "auto":
        name, why = _automatic_choice()
    elif requested == "mlx":
        name, why = "mlx", "asked for"
    elif requested == "cuda":
        name, why = "cuda", "asked for"
    else:
        raise EngineError(f"engine {requested!r} is unknown; use auto, mlx or cuda")
    if not installed(name):
        raise EngineError(
            f"the {name} engine needs {', '.join(REQUIRED_MODULES[name])}, not all of which are installed. "
            f"Install them with: pip install 'sumkit[{name}]'"
        )
    return name, why


def refuse_lacking(name: EngineName, optimizer: str, beams: int = 1) -> None:
    """Raise EngineError for what the engine does not have, before anything is loaded or planned."""
    if name == "mlx" and optimizer != "adamw":
        raise EngineError(f"the mlx engine has no optimizer {optimizer!r}; use --optimizer adamw (or --engine cuda)")
    if name == "mlx" and beams != 1:
        raise EngineError(f"the mlx engine has no beam search; use --beams 1 (or --engine cuda), not {beams}")


def _automatic_choice() -> tuple[EngineName, str]:
    if is_apple_silicon():
        return "mlx", "Apple silicon"
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        return "cuda", "an NVIDIA driver answers"
    if installed("cuda") or not installed("mlx"):
        return "cuda", "no Apple silicon and no NVIDIA GPU: torch on the CPU"
    return "mlx", "no Apple silicon and no NVIDIA GPU, torch is not installed: MLX on the CPU"


def load_engine(name: EngineName, spec: EngineSpec) -> Engine:
    """Import the engine's package and build it. Raises ModelError, AdapterError or EngineError."""
    let_waiting_threads_sleep()
    engine: Engine = importlib.import_module(f"{PACKAGES[name]}.engine").build(spec)
    return engine
