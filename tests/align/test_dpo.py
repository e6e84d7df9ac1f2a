"""The DPO step is exact: loss and gradient equal the naive computation and TRL's, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.align.alignment import first_pass
from common.align.dpo import (
    EncodedPair,
    Preference,
    dev_batches,
    encoded_pair,
    log_probabilities,
    reference_log_probabilities,
)
from common.config import from_flags, resolve
from common.data.batching import build_step, evaluation_batches
from common.data.encode import join
from common.engine import Engine
from common.run.directory import RunDirectory
from common.train.loop import Hooks, TrainingLoop
from common.types import TrainState
from tests.align.cases import Peft
from tests.contract.cases import ENGINES, LORA, build_exact, largest_difference, random_adapter
from tests.tiny_models import VOCAB_SIZE, build_tiny_model

BETA = 0.3
SFT = 0.5


def random_pairs(count: int = 5, seed: int = 0) -> list[EncodedPair]:
    generator = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        prompt = generator.integers(0, VOCAB_SIZE, int(generator.integers(8, 30))).tolist()
        chosen = generator.integers(0, VOCAB_SIZE, int(generator.integers(2, 9))).tolist()
        rejected = generator.integers(0, VOCAB_SIZE, int(generator.integers(5, 20))).tolist()
        pairs.append(encoded_pair(f"train-{number}", join("", prompt, chosen), join("", prompt, rejected)))
    return pairs


PAIRS = random_pairs()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, model_dir: Path) -> Engine:
    """An engine whose adapter changes what the model says."""
    built = build_exact(request.param, model_dir)
    built.load_adapter(random_adapter(built, size=0.1))
    return built


def objective(engine: Engine, untuned: bool = True, sft_weight: float = 0.0, batch_tokens: int = 4096) -> Preference:
    reference = reference_log_probabilities(engine, dev_batches(PAIRS, batch_tokens, 0), untuned)
    return Preference(reference, PAIRS, BETA, sft_weight, batch_tokens, 0)


def our_step(engine: Engine, terms: Preference, micro_batch_tokens: int = 4096) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradient as the loop gets them, the gradient by PEFT name."""
    batches, sums = terms.weigh(engine, build_step(terms.sequences(PAIRS), micro_batch_tokens, 0), 0)
    return sums["preference_loss_sum"] / sums["pairs"], engine.gradients(batches)


def lengths(pair: EncodedPair) -> tuple[int, int]:
    return int((pair.chosen.labels >= 0).sum()), int((pair.rejected.labels >= 0).sum())


@pytest.mark.parametrize("sft_weight", [0.0, SFT])
def test_loss_and_gradient_equal_the_written_out_formula(
    engine: Engine, model_dir: Path, tmp_path: Path, sft_weight: float
) -> None:
    """Rafailov et al. 2023, equation 7, over (B, T, V) logits and with autograd."""
    import torch

    naive = Peft(engine, model_dir, tmp_path)
    losses, likelihood = [], 0.0
    for pair in PAIRS:
        chosen, rejected = lengths(pair)
        policy = naive.log_probability(pair.chosen.tokens, chosen) - naive.log_probability(
            pair.rejected.tokens, rejected
        )
        with torch.no_grad(), naive.model.disable_adapter():
            reference = naive.log_probability(pair.chosen.tokens, chosen) - naive.log_probability(
                pair.rejected.tokens, rejected
            )
        losses.append(-torch.nn.functional.logsigmoid(BETA * (policy - reference)))
        likelihood = likelihood - naive.log_probability(pair.chosen.tokens, chosen)
    loss = torch.stack(losses).mean()
    tokens = sum(lengths(pair)[0] for pair in PAIRS)
    (loss + sft_weight * likelihood / tokens).backward()
    ours, gradients = our_step(engine, objective(engine, sft_weight=sft_weight))
    assert abs(float(loss) - np.log(2)) > 0.01, "the adapter has to matter"
    assert ours == pytest.approx(float(loss), abs=1e-5)
    expected = naive.gradients()
    assert max(float(np.abs(value).max()) for value in expected.values()) > 1e-2
    assert largest_difference(gradients, expected) < 1e-5


def test_loss_and_gradient_equal_trls(engine: Engine, model_dir: Path, tmp_path: Path) -> None:
    """TRL's own DPOTrainer on the same batch, its reference the model with the adapter off."""
    import trl
    from datasets import Dataset
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from tests.tiny_models import build_tiny_tokenizer

    naive = Peft(engine, model_dir, tmp_path / "adapter")
    rows = [
        {
            "prompt_ids": pair.chosen.tokens[: -lengths(pair)[0]].tolist(),
            "chosen_ids": pair.chosen.tokens[-lengths(pair)[0] :].tolist(),
            "rejected_ids": pair.rejected.tokens[-lengths(pair)[1] :].tolist(),
        }
        for pair in PAIRS
    ]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(build_tiny_tokenizer(tmp_path / "tokenizer"))
    arguments = trl.DPOConfig(
        output_dir=str(tmp_path / "out"), beta=BETA, report_to=[], use_cpu=True, bf16=False, fp16=False,
        gradient_checkpointing=False, disable_dropout=True, per_device_train_batch_size=len(rows), max_length=None,
    )  # fmt: skip
    texts = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}] * len(rows))
    trainer = trl.DPOTrainer(
        naive.model, args=arguments, train_dataset=texts,
        processing_class=tokenizer,
    )  # fmt: skip
    batch = DataCollatorForPreference(pad_token_id=0)(rows)
    policy = trainer.model.eval()
    terms = objective(engine, untuned="ref" not in policy.peft_config)
    loss = trainer.compute_loss(policy, batch)
    loss.backward()
    ours, gradients = our_step(engine, terms)
    assert ours == pytest.approx(float(loss), abs=1e-5)
    expected = {name: value for name, value in naive.gradients().items() if ".ref" not in name}
    assert largest_difference(gradients, expected) < 1e-5


def test_how_a_step_is_split_changes_nothing(engine: Engine) -> None:
    terms = objective(engine)
    whole, whole_gradients = our_step(engine, terms)
    split, split_gradients = our_step(engine, terms, micro_batch_tokens=48)
    assert split == pytest.approx(whole, abs=1e-5)
    assert largest_difference(whole_gradients, split_gradients) < 1e-5


def test_before_the_first_step_loss_is_log_2_and_a_step_lowers_it(engine: Engine) -> None:
    before = engine.adapter()
    terms = objective(engine, untuned=False)
    value = terms.evaluate(engine)
    assert value["dev_loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert value["dev_preferred"] == 0.0
    for _ in range(3):
        batches, _ = terms.weigh(engine, build_step(terms.sequences(PAIRS), 4096, 0), 0)
        engine.step(batches, 1e-2)
    after = terms.evaluate(engine)
    assert after["dev_loss"] < np.log(2) - 0.05
    assert after["dev_preferred"] == 1.0
    engine.load_adapter(before)


def test_the_references_micro_batches_are_those_of_the_first_epochs_steps(engine: Engine, tmp_path: Path) -> None:
    """In 16 bit what shares a micro-batch changes a sequence's sum, and the first loss would not be log 2."""
    changes = {"batch_size": 2, "micro_batch_tokens": 64, "steps": 6, "seed": 3}
    config = resolve(from_flags({"data": "demo", **changes}))
    terms = Preference({}, PAIRS, BETA, 0.0, 64, 0)
    loop = TrainingLoop(engine, RunDirectory(tmp_path), config, LORA, PAIRS, terms, 0, TrainState(), None, Hooks())
    steps = len(loop.plan.epoch_plan(0))
    stepped = [batch for _, batches, _ in loop._prefetched(steps) for batch in batches]
    reference = first_pass(loop.plan, 64, 0)
    assert len(reference) > steps == 3
    assert [batch.ids for batch in reference] == [batch.ids for batch in stepped]
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(reference, stepped, strict=True))
    assert [batch.ids for batch in reference] != [batch.ids for batch in dev_batches(PAIRS, 64, 0)]


def test_sequence_log_probabilities_are_those_of_the_logits(engine: Engine) -> None:
    pair = PAIRS[0]
    found = log_probabilities(engine, evaluation_batches([pair.chosen, pair.rejected], 4096, 0))
    for part, count in zip((pair.chosen, pair.rejected), lengths(pair), strict=True):
        logits = engine.logits(part.tokens[None])[0].astype(np.float64)
        logp = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        logp -= logits.max(-1, keepdims=True)
        chosen = logp[np.arange(len(part) - 1), part.tokens[1:]][-count:]
        assert found[part.id] == pytest.approx(float(chosen.sum()), abs=1e-3)
    batches = evaluation_batches([pair.chosen, pair.rejected], 4096, 0)
    assert -sum(found.values()) == pytest.approx(engine.evaluate(batches).loss_sum, rel=1e-5)


def test_the_reference_is_the_adapter_as_it_was_or_the_untuned_model(engine: Engine) -> None:
    start = reference_log_probabilities(engine, dev_batches(PAIRS, 4096, 0), untuned=False)
    untuned = reference_log_probabilities(engine, dev_batches(PAIRS, 4096, 0), untuned=True)
    assert max(abs(start[name] - untuned[name]) for name in start) > 0.1
    engine.enable_adapter(False)
    batches = evaluation_batches([part for pair in PAIRS for part in (pair.chosen, pair.rejected)], 4096, 0)
    assert log_probabilities(engine, batches) == untuned
    engine.enable_adapter(True)
