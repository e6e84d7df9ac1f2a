"""The torch engine: transformers models, LoRA through peft on a base quantized by bitsandbytes, on a GPU or a CPU.

Knows nothing of data files, schedules, run directories or metrics; those are `common`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from common.engine import EngineName, EngineSpec, GenerationSpec
from common.engine_base.checks import (
    check_batch,
    check_finite,
    clip_factor,
    dropout_seed,
    require_built,
    require_enabled,
)
from common.engine_base.sizes import chunk_rows
from common.engine_base.state import read_state, save_state
from common.generation.shared import join_rows
from common.generation.texts import OnDone, OnToken, Texts
from common.model.token_rows import grown_shape
from common.types import Batch, EvalStats, Generation, StepStats
from cuda_sum import device, distributed
from cuda_sum.fast import add_noise, use_fast_layers
from cuda_sum.functions import compile_functions
from cuda_sum.generate import generate
from cuda_sum.linears import Linears
from cuda_sum.lora import Adapter, attach_adapter
from cuda_sum.loss import loss_sum, token_losses, training_loss
from cuda_sum.model import is_quantized, load_model, recompute_layers
from cuda_sum.optimizer import AdamW, LossScaler
from cuda_sum.token_rows import make_room

DENSE_ROOM = 1.5  # free memory wanted for a dense copy of the weights, as a multiple of its size
PACK_FOR = {torch.float32: 1, torch.bfloat16: 8}  # prompts for which packing the weights saves more time than it takes


def build(spec: EngineSpec) -> CudaEngine:
    """The engine for a local model directory. Raises ModelError, AdapterError or EngineError."""
    return CudaEngine(spec)


class CudaEngine:
    """`common.engine.Engine` on torch. Adapter weights and moments are float32 whatever the base computes in."""

    name: EngineName = "cuda"

    def __init__(self, spec: EngineSpec) -> None:
        device.limit_kept_products()
        self._device = device.pick_device()
        self._dtype = device.compute_dtype(spec.dtype, self._device)
        self.spec = spec
        self.model, self.shape = load_model(spec, self._device, self._dtype)
        self.shape = grown_shape(self.shape, spec.lora)
        if spec.lora is not None and spec.lora.token_ids:
            make_room(self.model, self.shape.vocab_size)
        self.device = device.device_info(self._device, self._dtype)
        self.rank, self.world_size = distributed.join_group(self._device)
        self.total_parameters = self.shape.parameters
        self.trainable_parameters = 0
        self._rows = chunk_rows(self.shape.vocab_size, self._device.type)
        self._scaler = LossScaler(enabled=self._dtype == torch.float16)
        self._adapter: Adapter | None = None
        self._optimizer: AdamW | None = None
        self._steps_done = 0
        if spec.lora is not None:
            self._adapter = attach_adapter(self.model, self.shape, spec.lora, self._dtype)
            values, gradients = self._adapter.values, self._adapter.gradients
            self._optimizer = AdamW(spec.optimizer, values, gradients, self._adapter.scaled_from)
            self.trainable_parameters = self._adapter.values.numel()
            if spec.gradient_checkpointing:
                recompute_layers(self.model)
        if spec.compile:
            compile_functions(True)
        self._linears = use_fast_layers(self.model, self.shape, self._adapter)
        self._head = Linears([self.model.lm_head], [None], None)
        self._lengths: torch.Tensor | None = None
        if spec.neftune_alpha:
            self.model.model.embed_tokens.register_forward_hook(self._with_noise)
        self.model.eval()

    def step(self, batches: Sequence[Batch], learning_rate: float) -> StepStats:
        start = time.perf_counter()
        adapter = self._require_adapter("a training step")
        assert self._optimizer is not None
        scale = self._scaler.scale
        with self._training():
            sums = self._accumulate(batches, scale)
        distributed.sum_over_ranks(self.world_size, adapter.gradients, sums)
        norm_now = torch.linalg.vector_norm(adapter.gradients)
        loss, tokens, norm = torch.cat([sums, norm_now.double()[None]]).tolist()  # the step's one wait for the device
        norm /= scale
        if math.isfinite(loss) and not math.isfinite(norm) and self._scaler.enabled:
            self._scaler.overflowed()
            self._steps_done += 1
            return StepStats(loss, int(tokens), 0.0, time.perf_counter() - start, skipped=True)
        check_finite(loss, norm, batches)
        self._optimizer.update(learning_rate, clip_factor(norm, self.spec.optimizer.max_grad_norm) / scale)
        self._scaler.succeeded()
        self._steps_done += 1
        adapter.refresh()
        return StepStats(loss, int(tokens), norm, time.perf_counter() - start)

    def evaluate(self, batches: Sequence[Batch]) -> EvalStats:
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        with torch.no_grad():
            for batch in batches:
                hidden, targets, weights = self._target_states(batch)
                total += loss_sum(self.model.lm_head, hidden, targets, weights, self._rows)
        return EvalStats(float(total), sum(batch.target_tokens for batch in batches))

    def token_losses(self, batches: Sequence[Batch]) -> list[np.ndarray]:
        losses = []
        with torch.no_grad():
            for batch in batches:
                hidden, targets, _ = self._target_states(batch)
                losses.append(token_losses(self.model.lm_head, hidden, targets, self._rows))
        return [values.cpu().numpy() for values in losses]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        spec: GenerationSpec,
        on_done: OnDone | None = None,
        on_token: OnToken | None = None,
    ) -> list[Generation]:
        with self._dense_weights(packed=len(prompts) >= PACK_FOR.get(self._dtype, math.inf)):
            texts = Texts(prompts, spec, self.shape.vocab_size, None, on_done, on_token)
            return generate(self.model, self._head, texts)

    def gradients(self, batches: Sequence[Batch]) -> dict[str, np.ndarray]:
        adapter = self._require_adapter("gradients")
        self._accumulate(batches, self._scaler.scale)
        return {name: value / self._scaler.scale for name, value in adapter.gradient_arrays().items()}

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            hidden = self.model.model(self._array(tokens), use_cache=False).last_hidden_state
            return self.model.lm_head(hidden).float().cpu().numpy()  # type: ignore[no-any-return]

    def adapter(self) -> dict[str, np.ndarray]:
        return {} if self._adapter is None else self._adapter.weights()

    def load_adapter(self, weights: Mapping[str, np.ndarray]) -> None:
        require_built(self._adapter).load(weights)

    def enable_adapter(self, enabled: bool) -> None:
        if self._adapter is not None:
            self._adapter.enable(enabled)

    def save(self, directory: Path) -> None:
        device.synchronize(self._device)
        save_state(directory, self.name, {name: value.cpu().numpy() for name, value in self._state().items()})

    def restore(self, directory: Path) -> None:
        read = read_state(directory, self.name, self._state())
        state = {name: torch.from_numpy(value) for name, value in read.items()}
        self._steps_done = int(state["steps_done"])
        self._scaler.load_state(state)
        if self._optimizer is not None:
            self._optimizer.load_state({name.removeprefix("optimizer."): value for name, value in state.items()})

    def peak_memory_bytes(self) -> int:
        return device.peak_memory_bytes(self._device)

    def reset_peak_memory(self) -> None:
        device.reset_peak_memory(self._device)

    def _accumulate(self, batches: Sequence[Batch], scale: float) -> torch.Tensor:
        """Fill the adapter's gradients with those of scale * sum(weight * nll). Returns [sum of nll, target tokens]."""
        assert self._adapter is not None
        self._adapter.gradients.zero_()
        tokens = self._adapter.tokens
        trained = (None, None) if tokens is None else (tokens.head, tokens.ids)
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        for batch in batches:
            hidden, targets, weights = self._target_states(batch)
            objective, nll = training_loss(self.model.lm_head, hidden, targets, weights * scale, self._rows, *trained)
            objective.backward()  # type: ignore[no-untyped-call]
            sums[0] += nll
        sums[1] = sum(batch.target_tokens for batch in batches)
        return sums

    def _target_states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Hidden states of the target rows (N, H) before the head, their targets and their weights."""
        check_batch(batch, self.shape.vocab_size)
        self._lengths = self._array(batch.lengths)
        joined = None if self._draws_for_each_row() else join_rows(batch)
        if joined is None:
            tokens, rows, how = batch.tokens, self._array(batch.rows), {}
        else:
            tokens, rows = joined.tokens, self._array(joined.rows)
            how = {"position_ids": self._array(joined.positions), "beginning": joined.beginning}
        output = self.model.model(self._array(tokens), use_cache=False, target_rows_only=rows, **how)
        weights = device.send(torch.from_numpy(batch.weights), self._device)
        return output.last_hidden_state, self._array(batch.targets), weights

    def _draws_for_each_row(self) -> bool:
        """Whether dropout or noise is on now, whose draws differ between rows with a common beginning."""
        dropout = self.spec.lora is not None and self.spec.lora.dropout > 0
        return bool(self.model.training) and (dropout or self.spec.neftune_alpha > 0)

    def _with_noise(self, module: torch.nn.Module, _: tuple[torch.Tensor, ...], hidden: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, T, H) with NEFTune's noise in training steps (Jain et al. 2023), as they are elsewhere."""
        if not module.training or self._lengths is None:
            return hidden
        return add_noise(hidden, self._lengths, self.spec.neftune_alpha)

    def _array(self, values: np.ndarray) -> torch.Tensor:
        return device.send(torch.from_numpy(np.ascontiguousarray(values, np.int64)), self._device)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Dropout on, its draws a function of seed, step and rank alone: there is no random state to resume."""
        seed = dropout_seed(self.spec.seed, self._steps_done, self.rank)
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            self.model.train()
            try:
                yield
            finally:
                self.model.eval()

    @contextmanager
    def _dense_weights(self, packed: bool = False) -> Iterator[None]:
        """Inside the block, linear layers are dequantized, if memory allows, and in float32 hold the adapter too.

        Decoding reads every weight for every token, so this saves most of its time. In 16 bits the adapter stays
        beside the weights: added to them it would be rounded away in part. If `packed`, CPUs get weights laid out for
        their products, the head's too; where those are not quantized this is a copy as well.
        """
        quantized = any(is_quantized(base) for group in self._linears for base in group.bases)
        merge = self._dtype == torch.float32 and self._adapter is not None and self._adapter.enabled
        numbers = sum(base.in_features * base.out_features for group in self._linears for base in group.bases)
        room = device.free_memory_bytes(self._device) / DENSE_ROOM
        wanted = (quantized or merge) and numbers * self._dtype.itemsize < room
        packed = packed and (numbers + self.model.lm_head.weight.numel()) * self._dtype.itemsize < room
        try:
            for group in self._linears:
                if wanted:
                    group.densify(self._dtype, merge, packed)
                else:
                    group.join(packed)
            if packed:
                self._head.densify(self._dtype, merge=False, packed=True)
            yield
        finally:
            for group in [*self._linears, self._head]:
                group.release()

    def _require_adapter(self, purpose: str) -> Adapter:
        return require_enabled(self._adapter, self._adapter is not None and self._adapter.enabled, purpose)

    def _state(self) -> dict[str, torch.Tensor]:
        optimizer = {} if self._optimizer is None else self._optimizer.state()
        return {
            **{f"optimizer.{name}": value for name, value in optimizer.items()},
            **self._scaler.state(),
            "steps_done": torch.tensor(self._steps_done, dtype=torch.int64),
        }
