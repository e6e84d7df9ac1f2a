"""A run with added tokens, whole: trained, resumed bit for bit, loaded again, and saying what it was saved to say."""

import numpy as np
import pytest

from common.errors import CheckpointError
from common.model.adapter import read_adapter
from common.model.token_rows import EMBEDDING_ROWS
from common.run.directory import RunDirectory
from common.run.loaded_run import load_run
from common.train.training import train_run
from tests.journey.test_resume import assert_same_run, cut_after, engine

__all__ = ["engine"]
TOKENS = "<|prompter|>,<|assistant|>"


def test_rows_of_added_tokens_are_trained_saved_resumed_and_used(tmp_path, tiny_config, engine):
    changes = {"added_tokens": TOKENS, "template": "turns", "quantize": "none", "dtype": "float32", "steps": 4}
    whole = tmp_path / "whole"
    train_run(tiny_config(whole, **changes), whole, resume=False, requested_engine=engine)
    rows = read_adapter(RunDirectory(whole).adapter).weights[EMBEDDING_ROWS]
    assert np.abs(rows[0] - rows[1]).max() > 1e-4, "both began as the same mean"
    resumed = cut_after(whole, 2, tmp_path / "resumed")
    train_run(tiny_config(resumed, **changes), resumed, resume=True, requested_engine=engine)
    assert_same_run(whole, resumed)
    loaded = load_run(whole, engine)
    form = loaded.prompt_format
    prompt = form.prompts(["The bridge is closed."], 8)[0].tokens
    assert prompt[0] == loaded.tokenizer.added_ids[0]
    logits = loaded.engine.logits(np.array([prompt]))
    weights = loaded.engine.adapter()
    assert np.array_equal(weights[EMBEDDING_ROWS], rows)
    loaded.engine.load_adapter(weights | {EMBEDDING_ROWS: rows * 1.5})
    assert np.abs(loaded.engine.logits(np.array([prompt])) - logits).max() > 1e-3
    other = cut_after(whole, 2, tmp_path / "other")
    config = tiny_config(other, **{**changes, "added_tokens": "<|x|>", "template": "direct"})
    with pytest.raises(CheckpointError, match=r"lora\.added_tokens"):
        train_run(config, other, True, engine)
