"""FLOP counts against torch's own counter on tiny real models, and against hand-worked sums."""

from __future__ import annotations

import pytest

from common.budget.flops import StepCounter, full_finetune_flops
from common.engine import LoraSpec
from common.model.architecture import ModelShape, read_shape
from common.model.presets import preset_shape
from tests.tiny_models import build_tiny_model

TOKENS, TARGETS = 96, 20


def measure(directory, shape: ModelShape, lora: LoraSpec, checkpointing: bool) -> int:
    """FLOPs that torch counts in one training step with eager attention and the head on the target rows."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager")
    leaves = {linear.leaf for linear in shape.layer_linears(0)}
    targets = sorted(leaves) if lora.target_modules == "all-linear" else list(lora.target_modules)
    layers = list(range(shape.layers - lora.layers, shape.layers)) if lora.layers else None
    config = LoraConfig(r=lora.rank, target_modules=targets, layers_to_transform=layers, task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    model.train()
    if checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.disable_input_require_grads()  # transformers asks for a gradient of the embeddings; nothing needs it
    tokens = torch.randint(0, shape.vocab_size, (1, TOKENS))
    with FlopCounterMode(display=False) as counter:
        hidden = base.model(input_ids=tokens).last_hidden_state[0, :TARGETS]
        torch.nn.functional.cross_entropy(base.lm_head(hidden), tokens[0, :TARGETS]).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("architecture", ["qwen2", "llama", "phi"])
@pytest.mark.parametrize(
    ("lora", "checkpointing"),
    [
        (LoraSpec(rank=8), False),
        (LoraSpec(rank=8), True),
        (LoraSpec(rank=4, target_modules=("q_proj", "v_proj")), False),
        (LoraSpec(rank=4, layers=1), False),
        (LoraSpec(rank=4, layers=1, target_modules=("v_proj",)), False),
    ],
    ids=["all-linear", "checkpointing", "q-and-v", "last-layer", "last-layer-v"],
)
def test_count_is_within_two_percent_of_torchs_own(tmp_path, architecture, lora, checkpointing):
    directory = build_tiny_model(tmp_path, architecture)
    shape = read_shape(directory)
    counted = StepCounter(shape, lora, checkpointing).example(TOKENS, TARGETS).total
    measured = measure(directory, shape, lora, checkpointing)
    assert counted == pytest.approx(measured, rel=0.02)


def test_hand_worked_count_of_a_one_layer_model_with_an_adapter_on_the_query_only():
    shape = ModelShape(
        model_type="llama", layers=1, hidden_size=8, intermediate_size=16, heads=2, kv_heads=1, head_dim=4,
        vocab_size=10, context_tokens=64, tied_embeddings=True, attention_bias=False, rope_theta=1e4,
        partial_rotary_factor=1.0,
    )  # fmt: skip
    count = StepCounter(shape, LoraSpec(rank=2, target_modules=("q_proj",))).example(3, 2)
    # q 8x8, k 8x4, v 8x4, o 8x8, gate, up, down 8x16 each
    assert count.linear_forward == 3 * 2 * (64 + 32 + 32 + 64 + 3 * 128)
    assert count.attention_forward == 9 * 2 * 2 * 8
    assert count.head == 2 * (2 * 8 * 10 * 2)
    # gradients through o, gate, up and down; q, k and v get the embedding, which needs none
    assert count.activation_gradients == 3 * 2 * (64 + 3 * 128)
    # of scores (needed for q) and of q; neither v nor k needs one
    assert count.attention_gradients == 9 * 2 * (2 * 8)
    assert count.adapter_forward == 3 * 2 * 2 * (8 + 8)
    # dA, dB and the gradient through B, none through A
    assert count.adapter_gradients == 3 * 2 * 2 * (8 + 8 + 8)
    assert count.recomputation == 0


def test_attention_grows_with_the_square_of_the_length_and_the_rest_linearly():
    counter = StepCounter(preset_shape("qwen2.5-0.5b"), LoraSpec())
    once, twice = counter.example(100, 10), counter.example(200, 10)
    assert twice.attention_forward == 4 * once.attention_forward
    assert twice.linear_forward == 2 * once.linear_forward
    assert twice.head == once.head


def test_checkpointing_adds_exactly_one_forward_of_the_layers():
    shape = preset_shape("qwen2.5-0.5b")
    plain = StepCounter(shape, LoraSpec()).example(64, 8)
    again = StepCounter(shape, LoraSpec(), gradient_checkpointing=True).example(64, 8)
    assert again.total - plain.total == plain.linear_forward + plain.attention_forward + plain.adapter_forward


def test_layers_below_the_first_adapter_cost_their_forward_only():
    shape = preset_shape("qwen2.5-0.5b")
    all_layers = StepCounter(shape, LoraSpec()).example(64, 8)
    last_half = StepCounter(shape, LoraSpec(layers=12)).example(64, 8)
    assert last_half.linear_forward == all_layers.linear_forward
    assert last_half.activation_gradients == pytest.approx(all_layers.activation_gradients / 2, rel=0.05)


def test_without_an_adapter_only_the_forward_is_counted():
    count = StepCounter(preset_shape("phi-2"), None).example(64, 8)
    assert count.activation_gradients == count.adapter_gradients == count.attention_gradients == 0
    assert count.total == count.linear_forward + count.attention_forward + count.head


def test_full_fine_tuning_is_six_flops_for_each_parameter_and_token():
    shape = preset_shape("qwen2.5-0.5b")
    assert full_finetune_flops(shape, 10) == 60 * shape.parameters
    lora = StepCounter(shape, LoraSpec(rank=8)).example(512, 32).total
    assert 0.4 < lora / full_finetune_flops(shape, 512) < 0.8
