"""The MLX engine: mlx-lm models, LoRA on a quantized base, one training step at a time.

Knows nothing of data files, schedules, run directories or metrics; those are `common`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from common.engine import EngineName, EngineSpec, GenerationSpec, refuse_lacking
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
from common.generation.shared import Beginning, join_rows
from common.generation.texts import OnDone, OnToken, Texts
from common.model.adapter import count_trainable
from common.model.token_rows import grown_shape
from common.types import Batch, EvalStats, Generation, StepStats
from mlx_sum import device, distributed
from mlx_sum.attention import use_own_attention
from mlx_sum.feed_forward import use_frugal_feed_forward
from mlx_sum.forward import add_noise, target_states
from mlx_sum.generate import generate
from mlx_sum.lora import Adapter, attach_adapter, checked_weights
from mlx_sum.loss import Head, loss_sum, token_losses, training_loss
from mlx_sum.model import floating_dtype, head_of, load_model, recompute_layers
from mlx_sum.optimizer import AdamW, Arrays, global_norm
from mlx_sum.token_rows import head_with_rows, make_room

FORMER_STATE = ("dropout_key",)  # what earlier versions wrote too: the random state that is a function of the step now
FLOAT16_LOSS_SCALE = 1024.0  # float16 ends at 6e-8, where the gradient of a mean over 1000 tokens begins


def build(spec: EngineSpec) -> MlxEngine:
    """The engine for a local model directory. Raises ModelError, AdapterError or EngineError."""
    return MlxEngine(spec)


class MlxEngine:
    """`common.engine.Engine` on MLX. Adapter weights and moments are float32 whatever the base computes in."""

    name: EngineName = "mlx"

    def __init__(self, spec: EngineSpec) -> None:
        refuse_lacking(self.name, spec.optimizer.name)
        kind = device.pick_device()
        self.spec = spec
        self.model, self.shape = load_model(spec, device.compute_dtype(spec.dtype, kind))
        self.shape = grown_shape(self.shape, spec.lora)
        if spec.lora is not None and spec.lora.token_ids:
            make_room(self.model, self.shape.vocab_size)
        self.device = device.device_info(kind, floating_dtype(self.model))
        self.total_parameters = self.shape.parameters
        self.trainable_parameters = 0
        self._frozen_head = head_of(self.model)
        self._rows = chunk_rows(self.shape.vocab_size, "mlx")
        self._loss_scale = FLOAT16_LOSS_SCALE if floating_dtype(self.model) == mx.float16 else 1.0
        self._group = distributed.join_group()
        self.rank, self.world_size = self._group.rank(), self._group.size()
        self._adapter: Adapter | None = None
        self._weights: Arrays = {}
        self._enabled = True
        if spec.lora is not None:
            self._adapter, self._weights = attach_adapter(self.model, self.shape, spec.lora)
            self.trainable_parameters = count_trainable(self.shape, spec.lora)
            use_frugal_feed_forward(self.model)
            if spec.gradient_checkpointing:
                recompute_layers(self.model)
        use_own_attention(self.model, blockwise=kind != "cuda")  # there MLX has a fused backward pass (cuDNN)
        self._optimizer = AdamW(spec.optimizer, self._weights)
        self._gradient: Any = mx.compile(self._micro_batch) if spec.compile else self._micro_batch
        self.model.eval()

    def step(self, batches: Sequence[Batch], learning_rate: float) -> StepStats:
        start = time.perf_counter()
        require_enabled(self._adapter, self._enabled, "a training step")
        nll, gradients = self._accumulate(batches, self._key())
        count = sum(batch.target_tokens for batch in batches)
        gradients, nll, total = distributed.sum_over_ranks(self._group, gradients, nll, count)
        norm_array = global_norm(gradients)
        mx.eval(norm_array, nll, total, gradients)
        norm, loss = float(np.array(norm_array)), float(np.array(nll))  # the step's one wait for the device
        check_finite(loss, norm, batches)
        factor = clip_factor(norm, self.spec.optimizer.max_grad_norm)
        self._weights = self._optimizer.update(self._weights, gradients, learning_rate, factor)
        self._bind()
        mx.async_eval(self._weights, self._optimizer.state())
        return StepStats(loss, int(np.array(total)), norm, time.perf_counter() - start)

    def evaluate(self, batches: Sequence[Batch]) -> EvalStats:
        total, pending = mx.array(0.0), None
        for batch in batches:
            hidden = self._target_states(batch)
            targets, weights = mx.array(batch.targets), mx.array(batch.weights)
            total = total + loss_sum(self._head, hidden, targets, weights, self._rows)
            if pending is not None:
                mx.eval(pending)  # at most one batch in flight: memory stays that of one
            mx.async_eval(total)
            pending = total
        return EvalStats(float(np.array(total)), sum(batch.target_tokens for batch in batches))

    def token_losses(self, batches: Sequence[Batch]) -> list[np.ndarray]:
        losses = []
        for batch in batches:
            hidden = self._target_states(batch)
            losses.append(token_losses(self._head, hidden, mx.array(batch.targets), self._rows))
            mx.eval(losses[-1])  # memory stays that of one batch
        return [np.array(values) for values in losses]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        spec: GenerationSpec,
        on_done: OnDone | None = None,
        on_token: OnToken | None = None,
    ) -> list[Generation]:
        refuse_lacking(self.name, self.spec.optimizer.name, spec.beams)
        texts = Texts(prompts, spec, self.shape.vocab_size, self.shape.sliding_window, on_done, on_token)
        return generate(self.model, self._head, texts)

    def gradients(self, batches: Sequence[Batch]) -> dict[str, np.ndarray]:
        require_enabled(self._adapter, self._enabled, "gradients")
        _, gradients = self._accumulate(batches, None)
        return {name: np.array(value) for name, value in gradients.items()}

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        hidden = self.model.model(mx.array(np.asarray(tokens, np.int32)), None)
        return np.array(self._head(hidden).astype(mx.float32))

    def adapter(self) -> dict[str, np.ndarray]:
        return {name: np.array(value) for name, value in self._weights.items()}

    def load_adapter(self, weights: Mapping[str, np.ndarray]) -> None:
        checked = checked_weights(require_built(self._adapter), weights)
        self._weights = {name: checked[name] for name in self._weights}  # sums over them keep their order
        self._bind()

    def enable_adapter(self, enabled: bool) -> None:
        self._enabled = enabled
        if self._adapter is not None:
            self._adapter.enable(enabled)

    def save(self, directory: Path) -> None:
        save_state(directory, self.name, {name: np.asarray(value) for name, value in self._optimizer.state().items()})

    def restore(self, directory: Path) -> None:
        state = read_state(directory, self.name, self._optimizer.state(), FORMER_STATE)
        self._optimizer.load_state({name: mx.array(value) for name, value in state.items()})

    def peak_memory_bytes(self) -> int:
        return device.peak_memory_bytes()

    def reset_peak_memory(self) -> None:
        device.reset_peak_memory()

    def _micro_batch(
        self,
        weights: Arrays,
        tokens: mx.array,
        rows: mx.array,
        targets: mx.array,
        row_weights: mx.array,
        lengths: mx.array,
        shared: int,
        key: mx.array | None,
    ) -> tuple[mx.array, Arrays]:
        """Sum of nll of one micro-batch, and the gradient of sum(weight * nll); `key` None: no dropout, no noise.

        With `shared` first tokens in common, `tokens` and `rows` are those of the joined rows.
        """
        adapter, scaled = self._adapter, row_weights * self._loss_scale
        assert adapter is not None
        beginning = Beginning(shared, len(lengths)) if shared else None
        noise = None
        if key is not None and self.spec.neftune_alpha:
            key, noise_key = mx.random.split(key)

            def noise(hidden: mx.array) -> mx.array:
                return add_noise(hidden, lengths, self.spec.neftune_alpha, noise_key)

        def objective(weights: Arrays) -> tuple[mx.array, mx.array]:
            adapter.bind(weights)
            hidden = target_states(self.model, tokens, rows, noise, beginning)
            added = adapter.tokens
            trained = (None, None) if added is None or added.head is None else (added.head, added.ids)
            return training_loss(self._frozen_head, hidden, targets, scaled, self._rows, *trained)

        with adapter.dropout(key):  # around the backward pass too, which runs layers again when they are checkpointed
            (_, nll), gradients = mx.value_and_grad(objective)(weights)
        return nll, {name: value / self._loss_scale for name, value in gradients.items()}

    def _target_states(self, batch: Batch) -> mx.array:
        """Hidden states of the target rows (N, H), ready for the head, outside training."""
        check_batch(batch, self.shape.vocab_size, self.name, self.shape.sliding_window)
        joined = join_rows(batch)
        if joined is None:
            return target_states(self.model, mx.array(batch.tokens), mx.array(batch.rows))
        tokens, rows = mx.array(joined.tokens), mx.array(joined.rows)
        return target_states(self.model, tokens, rows, beginning=joined.beginning)

    @property
    def _head(self) -> Head:
        """The output head as it is now."""
        tokens = self._adapter.tokens if self._adapter is not None else None
        return self._frozen_head if tokens is None else head_with_rows(self._frozen_head, tokens.head, tokens.ids)

    def _accumulate(self, batches: Sequence[Batch], key: mx.array | None) -> tuple[mx.array, Arrays]:
        """Sum of nll and gradients over the micro-batches, at most one of them in flight on the device."""
        nll = mx.array(0.0)
        gradients: Arrays = {}
        keys = [None] * len(batches) if key is None else mx.random.split(key, len(batches) or 1)
        self.model.train()
        try:
            for index, (batch, batch_key) in enumerate(zip(batches, keys, strict=False)):
                check_batch(batch, self.shape.vocab_size, self.name, self.shape.sliding_window)
                tokens, rows, shared = batch.tokens, batch.rows, 0
                joined = join_rows(batch) if batch_key is None else None  # draws differ between the rows
                if joined is not None:
                    tokens, rows, shared = joined.tokens, joined.rows, joined.beginning.tokens
                arrays = [mx.array(part) for part in (tokens, rows, batch.targets, batch.weights, batch.lengths)]
                part_nll, part = self._gradient(self._weights, *arrays, shared, batch_key)
                if index:
                    mx.eval(gradients)
                    part = {name: value + part[name] for name, value in gradients.items()}
                gradients = part
                nll = nll + part_nll
                mx.async_eval(gradients, nll)
        finally:
            self.model.eval()
            self._bind()
        if not batches:  # a rank may have none of a step's micro-batches
            gradients = {name: mx.zeros(value.shape) for name, value in self._weights.items()}
        return nll, gradients

    def _key(self) -> mx.array | None:
        """Of the draws of the next training step, a function of seed, step and rank alone; None where nothing draws."""
        if not self.spec.neftune_alpha and (self.spec.lora is None or not self.spec.lora.dropout):
            return None
        return mx.random.key(dropout_seed(self.spec.seed, self._optimizer.steps, self.rank))

    def _bind(self) -> None:
        """Let the layers compute with the engine's weights again after a graph was traced."""
        if self._adapter is not None:
            self._adapter.bind(self._weights)
