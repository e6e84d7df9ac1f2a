"""Several runs as one summarizer: a vote among their summaries, or one model with their averaged adapter.

The vote is minimum-Bayes-risk decoding (Kumar and Byrne 2004) with ROUGE as the gain and the runs as the samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from common.data.prompts import find_template
from common.engine import LoraSpec, choose_engine, load_engine
from common.errors import AdapterError, ConfigError
from common.metrics.rouge import rouge_scores
from common.model.adapter import StoredAdapter, read_adapter
from common.model.token_rows import EMBEDDING_ROWS, HEAD_ROWS
from common.run.directory import open_run
from common.run.model_prompt import open_prompt
from common.run.preparation import engine_spec, generation_spec
from common.summarize.summarizer import Summarizer
from common.summarize.summary import Summary, SummaryOptions
from common.summarize.summary_job import OnDone, OnText

Method = Literal["vote", "average"]
_GAIN = ("rouge1", "rouge2", "rougeL")


class VotingSummarizer:
    """Every member summarizes each text; the summary closest to the others' is taken."""

    def __init__(self, members: Sequence[Summarizer]) -> None:
        self.members = list(members)
        self.name = "vote of " + ", ".join(member.name for member in members)

    def summarize_all(
        self,
        texts: Sequence[str],
        options: SummaryOptions,
        on_text: OnText | None = None,
        on_done: OnDone | None = None,
        keep_going: Callable[[], None] | None = None,
    ) -> list[Summary]:
        """As `Summarizer.summarize_all`; a text comes in one piece, once the last member has written its own."""
        written = [member.summarize_all(texts, options, keep_going=keep_going) for member in self.members]
        chosen = [elect(candidates) for candidates in zip(*written, strict=True)]
        for index, summary in enumerate(chosen):
            if on_text is not None:
                on_text(index, summary.text)
            if on_done is not None:
                on_done(index, summary)
        return chosen


def elect(candidates: Sequence[Summary]) -> Summary:
    """The elected candidate, with the texts of all and the tokens of all. Candidates that failed do not stand.

    Where all failed, the first one's failure is the result.
    """
    standing = [candidate for candidate in candidates if candidate.text]
    winner = standing[vote([candidate.text for candidate in standing])] if standing else candidates[0]
    return dataclasses.replace(
        winner,
        candidates=tuple(candidate.text for candidate in candidates),
        prompt_tokens=sum(candidate.prompt_tokens for candidate in candidates),
        tokens=sum(candidate.tokens for candidate in candidates),
    )


def vote(texts: Sequence[str]) -> int:
    """Position of the text with the highest mean ROUGE (of 1, 2 and L, F) against the others; the first of equals."""
    if len(texts) < 3:
        return 0
    pairs = [(i, j) for i in range(len(texts)) for j in range(len(texts)) if i != j]
    scores = rouge_scores([texts[i] for i, _ in pairs], [texts[j] for _, j in pairs]).fmeasure
    gains = np.zeros(len(texts))
    for position, (i, _) in enumerate(pairs):
        gains[i] += sum(scores[measure][position] for measure in _GAIN)
    return int(np.argmax(np.round(gains, 9)))


def load_ensemble(
    runs: Sequence[str | Path], method: Method, engine: str = "auto", template: str | None = None
) -> VotingSummarizer | Summarizer:
    """Several runs as one summarizer. Raises ConfigError where they cannot be combined, else as `Summarizer.load`."""
    if method == "average":
        return load_averaged(runs, engine, template)
    if len(runs) < 3:
        raise ConfigError(f"a vote needs at least 3 runs, {len(runs)} given; of two, neither is the nearer")
    return VotingSummarizer([Summarizer.load(run, engine=engine, template=template) for run in runs])


def load_averaged(runs: Sequence[str | Path], engine: str = "auto", template: str | None = None) -> Summarizer:
    """One model whose weights are the mean of the runs' tuned weights (Wortsman et al. 2022, "Model soups").

    Costs no more to run than one of them, but for an adapter of their summed rank. Raises ConfigError unless the
    runs share base model, quantization and prompt.
    """
    opened = [open_run(run) for run in runs]
    if len(opened) < 2:
        raise ConfigError("an average needs at least 2 runs; give --run several times")
    run, config, own_template = opened[0]
    for other, other_config, other_template in opened[1:]:
        for what, ours, theirs in (
            ("base model", config.model.model, other_config.model.model),
            ("quantization", config.model.quantize, other_config.model.quantize),
            ("prompt template", own_template, other_template),
            ("added tokens", config.lora.added_tokens, other_config.lora.added_tokens),
            ("longest prompt", config.prompt.max_length, other_config.prompt.max_length),
        ):
            if ours != theirs:
                raise ConfigError(f"{run.path} and {other.path} cannot be averaged: their {what} differs; use vote")
    opened_prompt = open_prompt(config, own_template if template is None else find_template(template))
    weights, lora = average_adapters([read_adapter(run.adapter) for run, _, _ in opened])
    form = opened_prompt.form
    built = load_engine(choose_engine(engine)[0], engine_spec(config, opened_prompt.model, lora))
    built.load_adapter(weights)
    name = "average of " + ", ".join(run.path.name for run, _, _ in opened)
    return Summarizer(name, built, form, generation_spec(config, form.eos_ids))


def average_adapters(adapters: Sequence[StoredAdapter]) -> tuple[dict[str, np.ndarray], LoraSpec]:
    """An adapter that adds to each weight matrix the mean of what the given ones add: exact, not a mean of factors.

    The mean of s_i B_i A_i over n adapters is [s_1 B_1 / n, …] times [A_1; …]: ranks add up, and the scale is 1.
    Raises AdapterError where the adapters are not on the same matrices of the same shapes.
    """
    first = adapters[0]
    if any(adapter.lora.dora for adapter in adapters):
        raise AdapterError("DoRA adapters cannot be averaged: what they add is not a sum; choose runs without --dora")
    for other in adapters[1:]:
        if other.weights.keys() != first.weights.keys():
            raise AdapterError("the runs' adapters are on different layers; average runs with the same target modules")
    if any(adapter.lora.token_ids != first.lora.token_ids for adapter in adapters):
        raise AdapterError("the runs' adapters train different added tokens; average runs with the same ones")
    rank = sum(adapter.lora.rank for adapter in adapters)
    count = len(adapters)
    averaged: dict[str, np.ndarray] = {}
    for name in first.weights:
        if name in (EMBEDDING_ROWS, HEAD_ROWS):
            averaged[name] = np.mean([adapter.weights[name] for adapter in adapters], axis=0)
        elif name.endswith(".lora_A.weight"):
            _check_shapes(name, adapters, axis=1)
            averaged[name] = np.concatenate([adapter.weights[name] for adapter in adapters])
        else:
            _check_shapes(name, adapters, axis=0)
            scaled = [adapter.weights[name] * (adapter.lora.scale / count) for adapter in adapters]
            averaged[name] = np.concatenate(scaled, axis=1)
    return averaged, dataclasses.replace(first.lora, rank=rank, alpha=float(rank), dropout=0.0, rank_stabilised=False)


def _check_shapes(name: str, adapters: Sequence[StoredAdapter], axis: int) -> None:
    sizes = {adapter.weights[name].shape[axis] for adapter in adapters}
    if len(sizes) > 1:
        raise AdapterError(f"the runs' adapters differ in size at {name} ({sorted(sizes)}); one base model?")
