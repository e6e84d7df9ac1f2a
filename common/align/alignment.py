"""Learning preferences: a task that starts from a trained run, with pairs or rewarded samples in place of summaries.

The aligned run's directory is one like any other: it is evaluated, reported, exported and served in the same way.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.align.dpo import EncodedPair, Preference, dev_batches, reference_log_probabilities, sequences_of
from common.align.grpo import GroupRelative, encode_references
from common.align.pairs import Pair, encode_pairs, mean_words, rated_pairs, read_pairs, sampled_pairs, write_pairs
from common.align.scoring import Reward, typical_words
from common.data.batching import build_step
from common.data.encode import EncodeReport
from common.data.sources import load_splits
from common.data.step_plan import StepPlan
from common.engine import Engine
from common.errors import ConfigError, DataError
from common.files import remove, write_json
from common.model.adapter import StoredAdapter, check_adapter, read_adapter
from common.progress import note
from common.run.directory import RunDirectory, open_run, require_adapter
from common.run.model_prompt import open_prompt
from common.run.preparation import Prepared, fingerprint_of, generation_spec, subset
from common.settings import RunConfig
from common.train.task import Goal
from common.types import Batch, EncodedExample, Example

PAIRS, REFERENCE = "pairs.jsonl", "reference.json"


@dataclass(frozen=True)
class Alignment:
    """The task of `sumkit align`. `start` is the run that it starts from, as `config.align.start` names it."""

    start: str

    @cached_property
    def adapter(self) -> StoredAdapter:
        """The starting run's. Raises CheckpointError or AdapterError."""
        run, config, _ = open_run(self.start)
        require_adapter(run, config)
        return read_adapter(run.adapter)

    def prepare(self, config: RunConfig) -> Prepared:
        """The starting run's model and prompt with the data that pairs are made of."""
        _, _, template = open_run(self.start)
        if config.align.method == "grpo" and config.align.ratings:
            raise ConfigError("grpo learns from its own samples alone: leave out --ratings, or use dpo")
        if config.lora.dropout:
            raise ConfigError(f"lora.dropout = {config.lora.dropout}: alignment compares exact probabilities; use 0")
        splits = load_splits(config.data, config.training.seed)
        opened = open_prompt(config, template)
        check_adapter(self.adapter.weights, opened.model.shape, self.adapter.lora)
        train = subset(splits.train, config.data.limit_train, config.training.seed)
        dev = subset(splits.dev, config.data.limit_dev, config.training.seed)
        parts = (opened.model, opened.tokenizer, template, opened.form)
        prepared = Prepared(config, *parts, splits, (), (), dev, EncodeReport(), fingerprint_of(train, dev))
        return dataclasses.replace(prepared, train_set=_expected(prepared))

    def begin(self, engine: Engine) -> None:
        """Start from the run's adapter."""
        if engine.world_size > 1:
            raise ConfigError("alignment runs on one device; start it without a launcher of several processes")
        engine.load_adapter(self.adapter.weights)
        note(f"starting from {self.start}")

    def goal(self, engine: Engine, prepared: Prepared, config: RunConfig, run: RunDirectory) -> Goal:
        """Documents to sample summaries of, or pairs, made now unless the run has them. Raises DataError for none."""
        if config.align.method == "grpo":
            return self._rewarded(prepared, config)
        form, limit = prepared.prompt_format, config.generation.max_new_tokens
        pairs = _pairs(run, prepared, config, engine)
        encoded = {split: encode_pairs(part, form, limit, split) for split, part in pairs.items()}
        objective = _preference(run, config, engine, encoded, prepared.tokenizer.pad_id)
        return Goal(encoded["train"], len(encoded["dev"]), objective)

    def _rewarded(self, prepared: Prepared, config: RunConfig) -> Goal:
        settings, form = config.align, prepared.prompt_format
        train, dev = _documents(prepared)
        objective = GroupRelative(
            {example.id: example for example in train},
            form,
            generation_spec(config, form.eos_ids),
            settings.samples,
            _reward(prepared),
            settings.kl_weight,
            self.adapter.weights if settings.reference == "start" else None,
            dev,
            config.training.micro_batch_tokens,
            prepared.tokenizer.pad_id,
        )
        return Goal(encode_references(train, form, config.generation.max_new_tokens), len(dev), objective)


def _expected(prepared: Prepared) -> Sequence[EncodedExample]:
    """Sequences as long as those that steps will hold: those of pairs, else the documents with their references."""
    config, form = prepared.config, prepared.prompt_format
    limit, kept = config.generation.max_new_tokens, Path(config.output.run) / PAIRS
    if kept.is_file() or config.align.ratings:
        pairs = read_pairs(kept) if kept.is_file() else _rated(config)
        return sequences_of(encode_pairs(pairs["train"], form, limit, "train"))
    return encode_references(_documents(prepared)[0], form, limit)


def _rated(config: RunConfig) -> dict[str, list[Pair]]:
    train, dev = rated_pairs(Path(config.align.ratings), config.data.dev_fraction, config.training.seed)
    return {"train": train, "dev": dev}


def _pairs(run: RunDirectory, prepared: Prepared, config: RunConfig, engine: Engine) -> dict[str, list[Pair]]:
    """The run's pairs by split: those that it has already, else made now and kept with it."""
    path = run.path / PAIRS
    if path.is_file():
        return read_pairs(path)
    pairs = _rated(config) if config.align.ratings else _sampled(prepared, engine)
    if not pairs["train"]:
        if not run.checkpoints.is_dir():
            remove(run.config)  # nothing was made that other settings could not begin with
        raise DataError(
            "no pair was found, for the reason that most documents have above: where samples score alike, raise "
            "--sampling-temperature or --samples, or lower --pair-margin; where none ended, raise --max-new-tokens"
        )
    chosen, rejected = mean_words(pairs["train"])
    note(
        f"pairs: {len(pairs['train'])} to train on, {len(pairs['dev'])} for dev; the better summaries have "
        f"{chosen:.1f} words on average, the worse {rejected:.1f}"
    )
    write_pairs(path, pairs)
    return pairs


def _sampled(prepared: Prepared, engine: Engine) -> dict[str, list[Pair]]:
    config, settings = prepared.config, prepared.config.align
    train, dev = _documents(prepared)
    reward = _reward(prepared)
    spec = dataclasses.replace(
        generation_spec(config, prepared.prompt_format.eos_ids),
        beams=1,
        temperature=settings.sampling_temperature,
        top_p=settings.sampling_top_p,
    )
    pairs: dict[str, list[Pair]] = {"train": [], "dev": []}
    for split, examples in (("train", train), ("dev", dev)):
        if examples:
            pairs[split], report = sampled_pairs(
                engine, prepared.prompt_format, examples, spec, settings.samples, reward, settings.pair_margin
            )
            note(f"{split}: {report.line()}")
    return pairs


def _documents(prepared: Prepared) -> tuple[Sequence[Example], Sequence[Example]]:
    """The training and dev documents that the model summarizes."""
    settings, seed = prepared.config.align, prepared.config.training.seed
    train = subset(prepared.splits.train, settings.pair_documents, seed)
    wanted = settings.pair_dev_documents
    return train, subset(prepared.dev_examples, wanted, seed) if wanted else []


def _reward(prepared: Prepared) -> Reward:
    settings = prepared.config.align
    words = settings.target_words or typical_words(prepared.splits.train)
    note(
        f"reward: ROUGE, less {settings.length_weight} for each {words} words beyond {words}, less "
        f"{settings.support_weight} for each unsupported claim"
    )
    return Reward(words, settings.length_weight, settings.support_weight)


def _preference(
    run: RunDirectory, config: RunConfig, engine: Engine, encoded: dict[str, list[EncodedPair]], pad_id: int
) -> Preference:
    """The DPO objective, its reference computed with the starting adapter and kept with the run.

    Called before a checkpoint is restored, so that the adapter is the starting one. Another micro-batch size (after an
    out-of-memory retry, say) needs the reference again.
    """
    path = run.path / REFERENCE
    settings, budget = config.align, config.training.micro_batch_tokens
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if stored.get("micro_batch_tokens") != budget:
        batches = first_pass(StepPlan(encoded["train"], config), budget, pad_id)
        batches += dev_batches(encoded["dev"], budget, pad_id)
        found = reference_log_probabilities(engine, batches, settings.reference == "untuned")
        stored = {"micro_batch_tokens": budget, "log_probabilities": found}
        write_json(path, stored)
    reference = stored["log_probabilities"]
    return Preference(reference, encoded["dev"], settings.beta, settings.sft_weight, budget, pad_id)


def first_pass(plan: StepPlan, budget: int, pad_id: int) -> list[Batch]:
    """The micro-batches of all steps of the first epoch, as the loop will build them: every pair once."""
    steps = range(len(plan.epoch_plan(0)))
    return [batch for step in steps for batch in build_step(sequences_of(plan.examples(step)), budget, pad_id)]
