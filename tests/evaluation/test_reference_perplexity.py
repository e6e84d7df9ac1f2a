"""Perplexity of the references: equal to what plain transformers gives, of the model as it is, with an interval."""

import math
from dataclasses import replace

import numpy as np
import pytest

from common.data.encode import encode_examples
from common.engine import Engine
from common.evaluation.reference_perplexity import example_losses, perplexity_interval, reference_perplexity
from common.run.loaded_run import LoadedRun, load_run
from common.types import Example
from tests.tiny_runs import build_tiny_base, build_tiny_run

EXAMPLES = [
    Example("a", "The council closed the bridge on Monday.", "The bridge is closed."),
    Example("b", "Nine hundred homes lost power in a storm.", "A storm took the power."),
    Example("c", "Two tests fail.", "The release is late, because two tests fail."),
    Example("long", "Two tests fail.", "The release is late. " * 40),
]


@pytest.fixture(scope="module", params=["cuda", "mlx"])
def loaded(request, tmp_path_factory) -> LoadedRun:
    """In float32: in bfloat16 a row's rounding may depend on the rows beside it, and on the CPU."""
    folder = tmp_path_factory.mktemp("perplexity")
    run = build_tiny_run(folder / "run", build_tiny_base(folder / "base"), dtype="float32")
    return load_run(run, request.param)


def own_losses(engine: Engine, loaded: LoadedRun) -> tuple[float, int]:
    """Negative log-likelihood of the target tokens from the engine's full logits."""
    total, tokens = 0.0, 0
    for example in encode_examples(EXAMPLES, loaded.prompt_format)[0]:
        logits = engine.logits(example.tokens[None]).astype(np.float64)[0, :-1]
        logs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        logs -= logits.max(-1, keepdims=True)
        targets = example.labels[1:]
        chosen = targets != -100
        total -= logs[np.arange(len(targets))[chosen], targets[chosen]].sum()
        tokens += int(chosen.sum())
    return total, tokens


def test_it_is_the_exponential_of_the_mean_loss_of_target_tokens(loaded):
    found = reference_perplexity(loaded.engine, loaded.prompt_format, EXAMPLES, "references")
    total, tokens = own_losses(loaded.engine, loaded)
    assert found is not None
    assert found.target_tokens == tokens
    assert found.mean == pytest.approx(math.exp(total / tokens), rel=1e-4)
    assert found.low < found.mean < found.high
    assert found.left_out == ("long",)
    assert found.as_dict()["left_out"] == 1


def test_each_example_has_its_own_sum_whatever_shares_its_batch(loaded):
    encoded = encode_examples([replace(EXAMPLES[n % 3], id=str(n)) for n in range(12)], loaded.prompt_format)[0]
    together = example_losses(loaded.engine, encoded, 0, "references")
    alone = np.concatenate([example_losses(loaded.engine, [example], 0, "references") for example in encoded])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert together[:, 1].tolist() == [(example.labels >= 0).sum() for example in encoded]


def test_it_is_that_of_the_model_as_it_is(loaded):
    tuned = reference_perplexity(loaded.engine, loaded.prompt_format, EXAMPLES, "references")
    loaded.engine.enable_adapter(False)
    base = reference_perplexity(loaded.engine, loaded.prompt_format, EXAMPLES, "references")
    loaded.engine.enable_adapter(True)
    assert tuned is not None
    assert base is not None
    assert abs(math.log(tuned.mean / base.mean)) > 1e-3


def test_the_interval_covers_the_perplexity_that_the_examples_come_from():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        tokens = generator.integers(5, 40, 80)
        losses = tokens * 2.0 + generator.normal(0, 1.0, 80) * np.sqrt(tokens)
        _, low, high = perplexity_interval(np.stack([losses, tokens], axis=1).astype(float))
        covered += low <= math.exp(2.0) <= high
    assert 0.9 <= covered / 300 <= 0.98


def test_without_an_example_that_fits_there_is_none(loaded):
    assert reference_perplexity(loaded.engine, loaded.prompt_format, EXAMPLES[3:], "references") is None
