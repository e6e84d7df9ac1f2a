"""Rows of added tokens: exact against autograd and PEFT, equal on both engines, trained, saved and resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.engine import Engine, EngineName
from common.errors import AdapterError
from common.model.adapter import count_trainable, read_adapter, write_adapter
from common.model.token_rows import EMBEDDING_ROWS, HEAD_ROWS
from common.types import IGNORED_LABEL, EncodedExample
from tests.contract.cases import (
    ENGINES,
    LORA,
    ModelDir,
    build_exact,
    dev_batches,
    largest_difference,
    random_adapter,
    random_examples,
    same_bits,
    step_batches,
)
from tests.tiny_models import VOCAB_SIZE

SPARE = (VOCAB_SIZE - 2, VOCAB_SIZE - 1)
GROWN = (VOCAB_SIZE, VOCAB_SIZE + 1, VOCAB_SIZE + 2)
CASES = [("qwen2", SPARE), ("qwen2", GROWN), ("llama", SPARE), ("llama", GROWN), ("phi", SPARE), ("gemma", GROWN)]
"""Tied; tied and grown; a head of its own; that, grown; a head with a bias, which stays; scaled embeddings."""


def with_tokens(ids: tuple[int, ...]) -> Any:
    return dataclasses.replace(LORA, token_ids=ids)


def examples_with(ids: tuple[int, ...], count: int = 6) -> list[EncodedExample]:
    """Random examples in whose prompts and targets the added tokens stand."""
    found = []
    for number, example in enumerate(random_examples(count)):
        tokens, labels = example.tokens.copy(), example.labels.copy()
        tokens[3 + number], tokens[20], tokens[-2] = ids[0], ids[-1], ids[number % len(ids)]
        labels[-2] = tokens[-2] if labels[-2] != IGNORED_LABEL else IGNORED_LABEL
        found.append(EncodedExample(example.id, tokens, labels))
    return found


def built(name: EngineName, model_dir: Path, ids: tuple[int, ...], **changes: Any) -> Engine:
    engine = build_exact(name, model_dir, lora=with_tokens(ids), **changes)
    engine.load_adapter(random_adapter(engine, size=0.05))
    return engine


class Peft:
    """The same model and adapter in plain transformers and PEFT."""

    def __init__(self, engine: Engine, model_dir: Path, directory: Path, ids: tuple[int, ...]) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        write_adapter(directory, engine.adapter(), with_tokens(ids), str(model_dir))
        base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        if max(ids) >= VOCAB_SIZE:
            base.resize_token_embeddings(max(ids) + 1)
        self.model: Any = PeftModel.from_pretrained(base, str(directory), is_trainable=True).eval()

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self.model(torch.tensor(tokens)).logits.numpy()  # type: ignore[no-any-return]

    def gradients(self, examples: list[EncodedExample]) -> dict[str, np.ndarray]:
        """Of the mean negative log-likelihood, with (B, T, V) logits and autograd."""
        import torch

        total: Any = 0.0
        for example in examples:
            logp = torch.log_softmax(self.model(torch.tensor(example.tokens[None].astype(np.int64))).logits[0], -1)
            places = np.flatnonzero(example.labels != IGNORED_LABEL)
            total = total - logp[places - 1, example.labels[places]].sum()
        (total / sum(int((item.labels != IGNORED_LABEL).sum()) for item in examples)).backward()
        return {
            name.replace(".default", ""): value.grad.numpy()
            for name, value in self.model.named_parameters()
            if value.grad is not None
        }


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("architecture", "ids"), CASES)
def test_logits_and_gradients_are_pefts(
    name: EngineName,
    architecture: str,
    ids: tuple[int, ...],
    tiny_model: ModelDir,
    tmp_path: Path,
) -> None:
    model_dir, examples = tiny_model(architecture), examples_with(ids)
    engine = built(name, model_dir, ids)
    peft = Peft(engine, model_dir, tmp_path, ids)
    tokens = np.stack([example.tokens[:30] for example in examples])
    logits = engine.logits(tokens)
    assert np.abs(logits - peft.logits(tokens)).max() < 1e-4
    gradients, expected = engine.gradients(step_batches(examples)), peft.gradients(examples)
    assert HEAD_ROWS in gradients or architecture != "llama"
    assert all(np.abs(expected[row]).max() > 1e-3 for row in expected if "token_adapter" in row)
    assert largest_difference(gradients, expected) < 1e-4
    engine.enable_adapter(False)
    untuned = build_exact(name, model_dir, lora=None).logits(np.minimum(tokens, VOCAB_SIZE - 1))
    ordinary = (tokens < VOCAB_SIZE).cumprod(axis=1).astype(bool)
    off = engine.logits(tokens)[..., :VOCAB_SIZE]
    largest = np.abs(off[ordinary] - untuned[ordinary]).max()
    assert largest < 1e-5 * np.abs(untuned).max(), "switched off, the model is the untuned one"
    engine.enable_adapter(True)
    assert np.array_equal(engine.logits(tokens), logits)


@pytest.mark.parametrize("name", ENGINES)
def test_chunks_micro_batches_and_recomputation_change_nothing(name: EngineName, tiny_model: ModelDir) -> None:
    examples, model_dir = examples_with(GROWN), tiny_model("llama")
    whole = built(name, model_dir, GROWN).gradients(step_batches(examples))
    split = built(name, model_dir, GROWN, gradient_checkpointing=True)
    split._rows = 3  # type: ignore[attr-defined]
    assert largest_difference(split.gradients(step_batches(examples, 64)), whole) < 1e-5


def test_both_engines_start_and_step_alike(tiny_model: ModelDir) -> None:
    model_dir, examples = tiny_model("llama"), examples_with(SPARE)
    engines = [build_exact(name, model_dir, lora=with_tokens(SPARE)) for name in ENGINES]
    first = [engine.adapter() for engine in engines]
    assert largest_difference(*first) < 1e-6
    assert engines[0].trainable_parameters == engines[1].trainable_parameters
    assert engines[0].trainable_parameters == count_trainable(engines[0].shape, LORA) + 4 * 64  # type: ignore[attr-defined]
    for engine in engines:
        before = engine.evaluate(dev_batches(examples)).loss
        for _ in range(3):
            engine.step(step_batches(examples), 1e-3)
        assert engine.evaluate(dev_batches(examples)).loss < before
    after = [engine.adapter() for engine in engines]
    assert largest_difference(*after) < 2e-5
    for row in (EMBEDDING_ROWS, HEAD_ROWS):
        assert np.abs(after[0][row] - first[0][row]).max() > 1e-3


@pytest.mark.parametrize("name", ENGINES)
def test_a_restored_engine_goes_on_bit_for_bit_and_generates_the_new_token(
    name: EngineName,
    tiny_model: ModelDir,
    tmp_path: Path,
) -> None:
    from common.engine import GenerationSpec

    model_dir, examples = tiny_model("qwen2"), examples_with(GROWN)
    engine = build_exact(name, model_dir, lora=with_tokens(GROWN))
    engine.step(step_batches(examples), 1e-2)
    write_adapter(tmp_path / "adapter", engine.adapter(), with_tokens(GROWN), "tiny")
    engine.save(tmp_path)
    engine.step(step_batches(examples), 1e-2)
    again = build_exact(name, model_dir, lora=with_tokens(GROWN))
    stored = read_adapter(tmp_path / "adapter", again.shape)  # type: ignore[attr-defined]
    assert stored.lora.token_ids == GROWN
    again.load_adapter(stored.weights)
    again.restore(tmp_path)
    again.step(step_batches(examples), 1e-2)
    assert same_bits(engine.adapter(), again.adapter())
    loud = engine.adapter()
    loud[EMBEDDING_ROWS] = loud[EMBEDDING_ROWS].copy()
    prompt = examples[0].tokens[:12].tolist()
    hidden_wish = engine.logits(np.array([prompt]))[0, -1]
    loud[EMBEDDING_ROWS][1] *= 40.0 * np.sign(hidden_wish[GROWN[1]])
    engine.load_adapter(loud)
    generated = engine.generate([prompt], GenerationSpec(max_new_tokens=1))[0].tokens
    assert generated == (int(engine.logits(np.array([prompt]))[0, -1].argmax()),) == (GROWN[1],)


def test_what_does_not_fit_is_refused(tiny_model: ModelDir, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot grow"):
        build_exact("cuda", tiny_model("phi"), lora=with_tokens(GROWN))
    with pytest.raises(AdapterError, match="another model"):
        build_exact("cuda", tiny_model("llama"), lora=with_tokens((VOCAB_SIZE + 5,)))
    engine = built("cuda", tiny_model("qwen2"), SPARE)
    write_adapter(tmp_path, engine.adapter(), with_tokens((1, 2, 3)), "tiny")
    with pytest.raises(AdapterError, match="for 3 added tokens"):
        read_adapter(tmp_path)
