"""AdamW equals torch's, which is the reference implementation people compare with."""

from __future__ import annotations

import mlx.core as mx
import mlx.optimizers
import numpy as np
import pytest
import torch

from common.engine import OptimizerSpec
from mlx_sum.optimizer import AdamW, global_norm

SPEC = OptimizerSpec(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.05)
RATES = (1e-2, 5e-3, 2e-2, 1e-3)


def gradients(step: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(step)
    return {
        "a": generator.normal(0, 3, (4, 5)).astype(np.float32),
        "b": generator.normal(0, 1e-3, 7).astype(np.float32),
    }


def test_weights_after_several_steps_equal_torchs_adamw() -> None:
    start = gradients(99)
    ours = {name: mx.array(value) for name, value in start.items()}
    optimizer = AdamW(SPEC, ours)
    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    reference = torch.optim.AdamW(theirs.values(), betas=(0.8, 0.99), eps=1e-6, weight_decay=0.05)
    for step, rate in enumerate(RATES):
        for group in reference.param_groups:
            group["lr"] = rate
        for name, value in gradients(step).items():
            theirs[name].grad = torch.tensor(value)
        reference.step()
        ours = optimizer.update(ours, {name: mx.array(value) for name, value in gradients(step).items()}, rate, 1.0)
    for name in ours:
        np.testing.assert_allclose(np.array(ours[name]), theirs[name].detach().numpy(), rtol=1e-6, atol=1e-7)


def test_without_bias_correction_the_first_step_would_be_several_times_larger() -> None:
    """The trap: mlx's own AdamW leaves the correction out unless asked."""
    weight, gradient = mx.zeros((3,)), mx.array([0.5, -2.0, 1.0])
    moved = AdamW(OptimizerSpec(), {"w": weight}).update({"w": weight}, {"w": gradient}, 1e-3, 1.0)["w"]
    np.testing.assert_allclose(np.array(moved), -1e-3 * np.sign(np.array(gradient)), rtol=1e-5)
    default = mlx.optimizers.AdamW(1e-3, weight_decay=0.0)
    uncorrected = default.apply_gradients({"w": gradient}, {"w": weight})["w"]
    np.testing.assert_allclose(np.array(uncorrected), 0.1 / 0.001**0.5 * np.array(moved), rtol=1e-4)


def test_the_norm_is_that_of_all_gradients_together() -> None:
    assert global_norm({"a": mx.array([3.0]), "b": mx.array([[0.0, 4.0]])}).item() == pytest.approx(5.0)
