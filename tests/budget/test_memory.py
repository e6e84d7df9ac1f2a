"""Predicted peak memory against the engines' own, on tiny models, and the laws it must obey."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.planner_accuracy import Case, build_model, measure
from common.budget.activations import MemorySettings, MicroBatch
from common.budget.memory import base_weight_bytes, estimate_memory
from common.engine import LoraSpec
from common.model.adapter import count_trainable
from common.model.architecture import read_shape
from common.model.presets import preset_shape

QWEN, PHI = preset_shape("qwen2.5-0.5b"), preset_shape("phi-2")
ON_GPU = MemorySettings("cuda", "cuda", "4bit", 2, LoraSpec(rank=16))
ON_MAC = MemorySettings("mlx", "metal", "4bit", 2, LoraSpec(rank=16))
BATCH = MicroBatch(4, 512, 200)


@pytest.mark.parametrize("engine", ["cuda", "mlx"])
@pytest.mark.parametrize(
    "case",
    [
        Case("smollm", layers=3, tokens=160, rows=1),
        Case("phi", layers=3, tokens=136, rows=1, quantize="4bit", checkpointing=True),
        Case("smollm", layers=3, tokens=160, rows=4, shared=96),
        pytest.param(
            Case("qwen", layers=2, tokens=136, rows=1, vocabulary=16_384, targets=100), marks=pytest.mark.slow
        ),
    ],
    ids=["plain", "4bit-checkpointing", "common-beginning", "large-head"],
)
def test_predicted_peak_is_close_to_the_measured_one_and_never_far_below(tmp_path, engine, case):
    directory = build_model(case, tmp_path)
    measured, kind, compute_bytes, _ = measure(case, directory, engine)
    settings = MemorySettings(
        engine, kind, case.quantize, compute_bytes, case.lora, case.checkpointing, accumulation=False
    )
    predicted = estimate_memory(read_shape(directory), settings, case.micro_batch).training_bytes
    assert -0.05 < predicted / measured - 1 < 0.25


@pytest.mark.parametrize("settings", [ON_GPU, ON_MAC], ids=["cuda", "mlx"])
class TestLaws:
    def test_parts_add_up_and_all_are_counted(self, settings):
        estimate = estimate_memory(QWEN, settings, BATCH, MicroBatch(16, 600, 16))
        held = estimate.base_weights + estimate.adapters + estimate.optimizer
        assert estimate.training_bytes == held + estimate.gradients + estimate.activations + estimate.head
        assert estimate.generation_bytes == held + estimate.generation
        assert estimate.total_bytes == max(estimate.training_bytes, estimate.generation_bytes) + estimate.overhead
        assert min(estimate.base_weights, estimate.activations, estimate.generation, estimate.overhead) > 0

    def test_checkpointing_and_fewer_adapted_layers_need_less(self, settings):
        plain = estimate_memory(PHI, settings, BATCH)
        checkpointed = estimate_memory(PHI, dataclasses.replace(settings, gradient_checkpointing=True), BATCH)
        upper_half = estimate_memory(PHI, dataclasses.replace(settings, lora=LoraSpec(rank=16, layers=16)), BATCH)
        assert checkpointed.activations < 0.3 * plain.activations
        assert 0.4 * plain.activations < upper_half.activations < 0.65 * plain.activations
        assert upper_half.optimizer == plain.optimizer // 2

    def test_activations_grow_with_the_tokens_and_weights_do_not(self, settings):
        once, twice = estimate_memory(QWEN, settings, BATCH), estimate_memory(QWEN, settings, MicroBatch(8, 512, 400))
        assert twice.activations == pytest.approx(2 * once.activations, rel=0.01)
        assert twice.base_weights == once.base_weights

    def test_a_common_beginning_is_kept_once_but_for_what_attention_reads(self, settings):
        apart = estimate_memory(QWEN, settings, BATCH).activations
        joined = estimate_memory(QWEN, settings, dataclasses.replace(BATCH, shared_tokens=256)).activations
        assert 0.6 * apart < joined < 0.75 * apart  # 62.5 % of the tokens run

    def test_the_head_costs_a_chunk_and_not_all_target_rows(self, settings):
        many = estimate_memory(QWEN, settings, MicroBatch(4, 512, 2000))
        more = estimate_memory(QWEN, settings, MicroBatch(4, 512, 2040))
        assert many.activations + many.head < 1.03 * (more.activations + more.head)
        assert more.activations + more.head < 1.03 * (many.activations + many.head)


def test_the_base_in_four_bits_by_hand():
    weights = sum(linear.out_features * linear.in_features for linear in QWEN.linears())
    biases = sum(linear.out_features for linear in QWEN.linears() if linear.bias)
    rest = 2 * (QWEN.parameters - weights)
    # NF4: half a byte, a byte for 64 weights, and four for 64 * 256; tables of a layer are 273 floats
    nf4 = weights // 2 + weights // 64 + weights // (16 * 256) + 168 * 273 * 4
    assert base_weight_bytes(QWEN, ON_GPU) == pytest.approx(nf4 + rest, rel=1e-4)
    # MLX: half a byte, and a scale and an offset in 16 bits for 64 weights; all widths divide by 64
    assert base_weight_bytes(QWEN, ON_MAC) == weights // 2 + weights // 16 + rest
    assert biases > 0


def test_unquantized_weights_take_their_dtype():
    plain = dataclasses.replace(ON_GPU, quantize="none")
    assert base_weight_bytes(PHI, plain) == 2 * PHI.parameters
    assert base_weight_bytes(PHI, dataclasses.replace(plain, compute_bytes=4)) == 4 * PHI.parameters


def test_adapter_gradients_and_moments_by_hand():
    trainable = count_trainable(QWEN, LoraSpec(rank=16))
    gpu, mac = estimate_memory(QWEN, ON_GPU, BATCH), estimate_memory(QWEN, ON_MAC, BATCH)
    assert (gpu.adapters, gpu.gradients, gpu.optimizer) == (6 * trainable, 4 * trainable, 8 * trainable)
    assert (mac.adapters, mac.gradients, mac.optimizer) == (4 * trainable, 8 * trainable, 8 * trainable)
    eight_bit = estimate_memory(QWEN, dataclasses.replace(ON_GPU, optimizer="adamw-8bit"), BATCH)
    assert eight_bit.optimizer == 2 * trainable
