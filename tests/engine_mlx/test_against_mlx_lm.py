"""A step is mlx-lm's own training step, where both are given the same micro-batches, weights and first matrices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optimizers
import numpy as np
from mlx_lm.tuner.trainer import TrainingArgs, train
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model

from common.data.batching import pad_batch
from common.engine import OptimizerSpec
from common.model.adapter import adapted_linears, lora_a_name, lora_b_name
from common.types import IGNORED_LABEL, EncodedExample
from mlx_sum.engine import build
from tests.contract.cases import LORA, ModelDir, exact_spec, largest_difference, random_examples

STEPS, ACCUMULATION = 3, 2
RATE = 1e-2


def test_steps_of_mlx_lms_trainer_and_ours_give_the_same_adapter(tiny_model: ModelDir, tmp_path: Path) -> None:
    directory = tiny_model("qwen2")
    # rows of one length: behind shorter ones mlx-lm's mask trains a token of padding
    micro = [random_examples(3, seed=seed, shortest=40, longest=40) for seed in range(STEPS * ACCUMULATION)]
    engine = build(exact_spec(directory, optimizer=OptimizerSpec(max_grad_norm=0.0)))
    first = engine.adapter()
    theirs = mlx_lm_adapter(directory, micro, first, tmp_path)
    for start in range(0, len(micro), ACCUMULATION):
        batches = [pad_batch(part, mean_weights(part), pad_id=0) for part in micro[start : start + ACCUMULATION]]
        engine.step(batches, RATE)
    ours = engine.adapter()
    assert largest_difference(ours, first) > RATE
    assert largest_difference(ours, theirs) < 0.01 * RATE


def targets(example: EncodedExample) -> int:
    return int((example.labels != IGNORED_LABEL).sum())


def mean_weights(part: list[EncodedExample]) -> list[np.ndarray]:
    """mlx-lm's: a mean over each micro-batch's targets, then over micro-batches."""
    each = 1.0 / sum(map(targets, part)) / ACCUMULATION
    return [np.full(targets(example), each, np.float32) for example in part]


def mlx_lm_adapter(
    directory: Path, micro: list[list[EncodedExample]], first: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """What mlx-lm's trainer makes of the matrices `first`, under their names here."""
    settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    # mlx-lm reads the rotary base at the top level, where transformers no longer writes it
    model, _ = load_model(directory, model_config={"rope_theta": settings["rope_parameters"]["rope_theta"]})
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": LORA.rank, "scale": LORA.scale, "dropout": 0.0})
    paths = [linear.path for linear in adapted_linears(build(exact_spec(directory)).shape, LORA)]
    names = {f"{path}.lora_a": lora_a_name(path) for path in paths}
    names |= {f"{path}.lora_b": lora_b_name(path) for path in paths}
    model.load_weights([(own, mx.array(first[name].T)) for own, name in names.items()], strict=False)

    def batches(**_: Any) -> Iterator[tuple[mx.array, mx.array]]:
        for part in micro:
            spans = [(len(example) - targets(example), len(example)) for example in part]
            yield mx.array(np.stack([example.tokens for example in part])), mx.array(spans)

    train(
        model=model,
        optimizer=optimizers.Adam(learning_rate=RATE, bias_correction=True),
        train_dataset=micro,
        args=TrainingArgs(
            iters=len(micro),
            steps_per_report=1000,
            steps_per_save=1000,
            grad_accumulation_steps=ACCUMULATION,
            adapter_file=str(folder / "adapters.safetensors"),
        ),
        iterate_batches=batches,
    )
    trained = mx.load(str(folder / "adapters.safetensors"))
    return {name: np.array(trained[own]).T for own, name in names.items()}
