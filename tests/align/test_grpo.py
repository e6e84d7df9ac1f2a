"""The GRPO step is exact: its gradient equals autograd's over the written-out loss, and TRL's, on both engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.align.grpo import GroupRelative, advantages, encode_references, group_rewards, sampled_sequences
from common.align.sampling import Samples, sample_summaries
from common.align.scoring import Reward
from common.data.batching import build_step
from common.data.prompts import BUILT_IN, PromptFormat
from common.engine import Engine, GenerationSpec
from common.model.adapter import write_adapter
from common.model.tokenizer import load_tokenizer
from common.types import Batch, Example, Generation
from tests.align.cases import Peft
from tests.contract.cases import ENGINES, LORA, build_exact, largest_difference, random_adapter
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

COUNT = 3
DOCUMENT = "The council closed the old bridge on Monday. The work costs four million."
EXAMPLES = [Example(f"row {n}", DOCUMENT + " More." * n, "The council closed the bridge.") for n in range(4)]
IDS = [example.id for example in EXAMPLES]
ENDS = tuple(range(0, 384, 12))  # random weights: let many tokens end a summary
SPEC = GenerationSpec(max_new_tokens=10, eos_ids=ENDS, seed=5)
REWARD = Reward(target_words=2, length_weight=0.2, support_weight=0.1)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = build_tiny_model(tmp_path_factory.mktemp("model"), "llama")
    return build_tiny_tokenizer(directory)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, model_dir: Path) -> Engine:
    """An engine whose adapter changes what the model says."""
    built = build_exact(request.param, model_dir)
    built.load_adapter(random_adapter(built, size=0.1))
    return built


@pytest.fixture(scope="module")
def form(model_dir: Path) -> PromptFormat:
    return PromptFormat(BUILT_IN["direct"], load_tokenizer(model_dir), max_length=128)


def objective(form: PromptFormat, **changes: Any) -> GroupRelative:
    encoded = encode_references(EXAMPLES, form, SPEC.max_new_tokens)
    examples = {item.id: example for item, example in zip(encoded, EXAMPLES, strict=True)}
    plain = GroupRelative(examples, form, SPEC, COUNT, REWARD, 0.0, None, EXAMPLES[:2], 4096, 0)
    return replace(plain, **changes)


def planned(terms: GroupRelative) -> list[Batch]:
    return build_step(encode_references(EXAMPLES, terms.form, SPEC.max_new_tokens), 4096, 0)


def drawn(engine: Engine, form: PromptFormat, seed: int = 1) -> Samples:
    return sample_summaries(engine, form, EXAMPLES, replace(SPEC, temperature=1.0, seed=seed), COUNT, REWARD)


@pytest.mark.parametrize("kl_weight", [0.0, 0.3])
@pytest.mark.parametrize("micro_batch_tokens", [4096, 96])
def test_the_gradient_equals_trls(
    engine: Engine, form: PromptFormat, model_dir: Path, tmp_path: Path, kl_weight: float, micro_batch_tokens: int
) -> None:
    """TRL's own GRPOTrainer makes advantages and loss from the same samples and rewards; reference: the start."""
    start = engine.adapter()
    moved = {name: value + 0.25 * random_adapter(engine, seed=9)[name] for name, value in start.items()}
    samples = drawn(engine, form)
    rewards = group_rewards(samples)
    model = trls_model(engine, model_dir, tmp_path)
    trainer = trls_trainer(model, model_dir, tmp_path, samples, rewards, kl_weight)
    set_peft_model_state_dict(trainer.model, {name: torch.from_numpy(value) for name, value in moved.items()})
    inputs = trainer._generate_and_score_completions([{"prompt": ""} for _ in rewards])
    trainer._compute_loss(trainer.model, inputs).backward()
    expected = {
        name.replace(".default", ""): parameter.grad.numpy()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    terms = objective(form, kl_weight=kl_weight, reference=start)
    batches = build_step(sampled_sequences(samples, IDS), micro_batch_tokens, 0)
    engine.load_adapter(moved)
    try:
        weighted, divergence = terms.weighted(engine, batches, advantages(rewards, COUNT))
        ours = engine.gradients(weighted)
        assert all(np.array_equal(moved[name], value) for name, value in engine.adapter().items())
    finally:
        engine.load_adapter(start)
    assert max(float(np.abs(value).max()) for value in expected.values()) > 1e-3
    assert largest_difference(ours, expected) < 1e-5
    if kl_weight:
        divergence /= sum(batch.target_tokens for batch in batches)
        assert divergence == pytest.approx(trainer._metrics["eval"]["kl"][-1], abs=1e-5)
        assert divergence > 1e-3, "the adapter has to matter"


def trls_model(engine: Engine, model_dir: Path, directory: Path) -> Any:
    write_adapter(directory / "adapter", engine.adapter(), LORA, str(model_dir))
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(directory / "adapter"), is_trainable=True)


def trls_trainer(
    model: Any, model_dir: Path, directory: Path, samples: Samples, rewards: np.ndarray, kl_weight: float
) -> Any:
    """A GRPOTrainer that is given the samples and rewards in place of drawing its own."""
    import trl

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        found = {item.id: list(item.tokens) for item in sampled_sequences(samples, [""] * len(samples.prompts))}
        starts = [samples.prompts[index // COUNT] for index in range(len(rewards))]
        completions = [found[f"{index} "][len(start) :] for index, start in enumerate(starts)]
        return {"prompt_ids": starts, "completion_ids": completions, "logprobs": None}

    arguments = trl.GRPOConfig(
        output_dir=str(directory / "out"), report_to=[], use_cpu=True, bf16=False, fp16=False, beta=kl_weight,
        gradient_checkpointing=False, per_device_train_batch_size=len(rewards), num_generations=COUNT,
        per_device_eval_batch_size=len(rewards), disable_dropout=True,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model, args=arguments, train_dataset=Dataset.from_list([{"prompt": "row"}] * len(rewards)),
        reward_funcs=lambda completions, **_: rewards.tolist(), rollout_func=rollout,
        processing_class=AutoTokenizer.from_pretrained(model_dir),
    )  # fmt: skip
    trainer.model.eval()
    return trainer


def test_the_gradient_equals_that_of_the_written_out_loss(
    engine: Engine, form: PromptFormat, model_dir: Path, tmp_path: Path
) -> None:
    """Over (B, T, V) logits, the divergence weighted by the probability ratio too; reference: the untuned model."""
    samples = drawn(engine, form)
    rewards = group_rewards(samples)
    sequences = sampled_sequences(samples, IDS)
    naive = Peft(engine, model_dir, tmp_path)
    groups = torch.tensor(rewards).view(-1, COUNT)
    relative = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).view(-1)
    total, tokens = torch.zeros(()), 0
    for item in sequences:
        targets = int((item.labels >= 0).sum())
        now = naive.token_log_probabilities(item.tokens, targets)
        with torch.no_grad(), naive.model.disable_adapter():
            then = naive.token_log_probabilities(item.tokens, targets)
        ratio = torch.exp(now - now.detach())
        divergence = torch.exp(then - now) - (then - now) - 1
        total = total - (ratio * (relative[int(item.id.split()[0])] - 0.3 * divergence)).sum()
        tokens += targets
    (total / tokens).backward()
    expected = naive.gradients()
    terms = objective(form, kl_weight=0.3, reference=None)
    weighted, _ = terms.weighted(engine, build_step(sequences, 4096, 0), advantages(rewards, COUNT))
    assert max(float(np.abs(value).max()) for value in expected.values()) > 1e-3
    assert largest_difference(engine.gradients(weighted), expected) < 1e-5


def test_training_raises_the_reward(engine: Engine, form: PromptFormat) -> None:
    """The reward here is brevity alone; before and after are the means over the same unseen samples' seeds."""
    start = engine.adapter()
    spec = replace(SPEC, max_new_tokens=24, eos_ids=ENDS[::2])
    terms = objective(form, spec=spec, count=8, reward=Reward(target_words=1, length_weight=0.2, support_weight=0.0))

    def measured() -> tuple[float, float]:
        rows = [terms.row(terms.weigh(engine, planned(terms), 1000 + step)[1]) for step in range(6)]
        return float(np.mean([row["reward"] for row in rows])), float(np.mean([row["words"] for row in rows]))

    reward, words = measured()
    for step in range(30):
        engine.step(terms.weigh(engine, planned(terms), step)[0], 3e-2)
    rewarded, shortened = measured()
    engine.load_adapter(start)
    assert rewarded > reward + 0.1
    assert shortened < 0.8 * words


def test_a_step_is_a_function_of_weights_seed_and_step(engine: Engine, form: PromptFormat) -> None:
    terms = objective(form, kl_weight=0.1, reference=engine.adapter())
    first, sums = terms.weigh(engine, planned(terms), 3)
    again, sums_again = terms.weigh(engine, planned(terms), 3)
    other, _ = terms.weigh(engine, planned(terms), 4)
    assert sums == sums_again
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(first, again, strict=True))
    assert [batch.tokens.tolist() for batch in first] != [batch.tokens.tolist() for batch in other]
    row = terms.row(sums)
    assert row["divergence"] == pytest.approx(0.0, abs=1e-9), "reference and policy are the same weights"
    assert (row["samples"], row["loss"]) == (COUNT * len(EXAMPLES), -row["reward"])
    values = terms.evaluate(engine)
    assert values["dev_loss"] == -values["dev_reward"]
    assert replace(terms, dev=()).evaluate(engine) == {}


def test_what_is_trained_are_the_sampled_tokens_with_the_token_that_ended_them(
    engine: Engine, form: PromptFormat
) -> None:
    samples = drawn(engine, form)
    reasons = {generation.stop_reason for generation in samples.generations}
    assert reasons == {"eos", "length"}
    for item in sampled_sequences(samples, IDS):
        index = int(item.id.split()[0])
        generation = samples.generations[index]
        prompt = samples.prompts[index // COUNT]
        assert item.id == f"{index} row {index // COUNT}"
        assert item.tokens[: len(prompt)].tolist() == prompt
        learnt = item.labels[item.labels >= 0].tolist()
        if generation.stop_reason == "length":
            assert learnt == list(generation.tokens)
        else:
            assert learnt[:-1] == list(generation.tokens)
            assert learnt[-1] == generation.stop_token
            assert learnt[-1] in ENDS


def test_what_never_ended_or_is_empty_is_no_better_than_the_worst_that_ended() -> None:
    generations = [Generation((5,), "eos", stop_token=1), Generation((5, 6), "length"), Generation((), "eos"),
                   Generation((7,), "length"), Generation((), "error"), Generation((8,), "length")]  # fmt: skip
    texts = ["a b", "a b c", "", "x", "", "y"]
    scores = np.array([-0.2, 0.9, 0.0, 0.3, 0.0, 0.1])
    samples = Samples([[1], [2]], 3, generations, texts, scores)
    assert group_rewards(samples).tolist() == [-0.2, -0.2, -0.2, 0.3, 0.0, 0.1]
    assert scores[1] == 0.9, "the samples keep their scores"
    kept = sampled_sequences(samples, ["a", "b"])
    assert [item.id for item in kept] == ["0 a", "1 a", "3 b", "5 b"]


def test_advantages_are_relative_to_their_group() -> None:
    found = advantages(np.array([1.0, 2.0, 3.0, 5.0, 5.0, 5.0]), 3)
    assert found[:3] == pytest.approx(np.array([-1.0, 0.0, 1.0]) / (1 + 1e-4))
    assert found[3:].tolist() == [0.0, 0.0, 0.0]
