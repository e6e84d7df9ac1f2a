"""From a trained run to an aligned one: pairs, the reference's log-probabilities, the training loop, the adapter.

The aligned run's directory is one like any other: it is evaluated, reported, exported and served in the same way.
Knows nothing of the command line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.align.dpo import EncodedPair, Preference, dev_batches, reference_log_probabilities, sequences_of
from common.align.grpo import GroupRelative, encode_references
from common.align.pairs import Pair, encode_pairs, mean_words, rated_pairs, read_pairs, sampled_pairs, write_pairs
from common.align.scoring import Reward, typical_words
from common.config import read_config
from common.data.batching import build_step
from common.data.encode import EncodeReport
from common.data.sources import load_splits
from common.data.step_plan import StepPlan
from common.engine import Engine, EngineName, choose_engine, load_engine, refuse_lacking
from common.errors import CheckpointError, ConfigError, DataError
from common.files import remove, write_atomically, write_json
from common.model.adapter import StoredAdapter, read_adapter, write_adapter
from common.model.models import resolve_model
from common.model.tokenizer import load_tokenizer
from common.process.signals import SignalCatcher
from common.progress import note
from common.run.directory import RunDirectory, open_run, prompt_format, write_environment, write_settings
from common.run.lock import RunLock
from common.run.preparation import Prepared, engine_spec, fingerprint_of, generation_spec, lora_spec, subset
from common.settings import RunConfig
from common.train.loop import TrainingLoop
from common.train.objective import Objective
from common.train.training import Finished, environment_of, find_state, make_hooks, refuse_changes, restore_newest
from common.types import Batch, EncodedExample, Example

PAIRS, REFERENCE = "pairs.jsonl", "reference.json"


@dataclass(frozen=True)
class Source:
    """The run that alignment starts from, and the data that pairs are made of."""

    prepared: Prepared
    adapter: StoredAdapter


def align_run(config: RunConfig, path: Path, resume: bool) -> Finished:
    """Align `config.align.start` into `path`. With `resume` continue where it stopped, pairs included.

    Raises CheckpointError when a directory is not what it should be, DataError when no pair can be made, and what
    training raises.
    """
    run = RunDirectory(path)
    if run.finished_marker.is_file() and resume:
        note(f"{path} is finished; nothing to do")
        return Finished(run, find_state(run), trained_now=False)
    if run.config.is_file() and not resume:
        raise CheckpointError(f"{path} already holds a run; add --resume to continue it, or choose another --run")
    name, why = choose_engine(config.output.engine)
    refuse_lacking(name, config.training.optimizer, config.generation.beams)
    config = dataclasses.replace(config, output=dataclasses.replace(config.output, engine=name))
    source = _open_source(config)
    with RunLock(run):
        if run.config.is_file():
            refuse_changes(read_config(run.config), config, run, source.prepared.data_fingerprint)
        write_settings(run, config, source.prepared.template)
        try:
            return _align_locked(run, source, config, name, why)
        except DataError:
            if not (run.path / PAIRS).is_file() and not run.checkpoints.is_dir():
                remove(run.config)  # nothing was made that other settings could not begin with
            raise


def _open_source(config: RunConfig) -> Source:
    start = RunDirectory(Path(config.align.start))
    _, _, template = open_run(start.path)
    if not start.adapter.is_dir():
        raise CheckpointError(
            f"{start.path} has no adapter yet; finish training with `sumkit train --resume --run {start.path}`"
        )
    if config.align.method == "grpo" and config.align.ratings:
        raise ConfigError("grpo learns from its own samples alone: leave out --ratings, or use dpo")
    if config.lora.dropout:
        raise ConfigError(f"lora.dropout = {config.lora.dropout}: alignment compares exact probabilities; use 0")
    splits = load_splits(config.data, config.training.seed)
    model = resolve_model(config.model.model)
    tokenizer = load_tokenizer(model.directory, config.lora.added_tokens)
    form = prompt_format(config, template, tokenizer, model.shape.context_tokens)
    train = subset(splits.train, config.data.limit_train, config.training.seed)
    dev = subset(splits.dev, config.data.limit_dev, config.training.seed)
    prepared = Prepared(
        config, model, tokenizer, template, form, splits, (), (), dev, EncodeReport(), fingerprint_of(train, dev)
    )
    return Source(prepared, read_adapter(start.adapter))


def _align_locked(run: RunDirectory, source: Source, config: RunConfig, name: EngineName, why: str) -> Finished:
    prepared, lora = source.prepared, lora_spec(config, source.prepared.tokenizer)
    engine = load_engine(name, engine_spec(config, prepared.model, lora))
    if engine.world_size > 1:
        raise ConfigError("alignment runs on one device; start it without a launcher of several processes")
    engine.load_adapter(source.adapter.weights)
    note(
        f"engine {name} ({why}): {engine.device.name}, {engine.device.compute_dtype}; "
        f"starting from {config.align.start}"
    )
    write_environment(run, environment_of(engine, prepared, engine.trainable_parameters))
    with SignalCatcher() as signals:
        train_set, objective = _rewarded(source) if config.align.method == "grpo" else _preferred(run, source, engine)
        state, best = restore_newest(run, engine)
        plan = StepPlan(train_set, config)
        plan.announce(state.step, run.path)
        hooks = make_hooks(engine, prepared, config, run, signals)
        sets = (train_set, (), prepared.tokenizer.pad_id)
        end, chosen = TrainingLoop(engine, run, config, lora, *sets, state, best, hooks, objective=objective).run_all()
    write_atomically(run.adapter, lambda aside: write_adapter(aside, chosen, lora, prepared.model.source))
    write_json(run.finished_marker, {"state": dataclasses.asdict(end)})
    return Finished(run, end, trained_now=True)


def _pairs(run: RunDirectory, source: Source, engine: Engine) -> dict[str, list[Pair]]:
    """The run's pairs by split: those that it has already, else made now and kept with it."""
    path, prepared = run.path / PAIRS, source.prepared
    if path.is_file():
        return read_pairs(path)
    settings = prepared.config.align
    if settings.ratings:
        train, dev = rated_pairs(
            Path(settings.ratings), prepared.config.data.dev_fraction, prepared.config.training.seed
        )
        pairs = {"train": train, "dev": dev}
    else:
        pairs = _sampled(source, engine)
    if not pairs["train"]:
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


def _sampled(source: Source, engine: Engine) -> dict[str, list[Pair]]:
    prepared = source.prepared
    config, settings = prepared.config, prepared.config.align
    train, dev = _documents(source)
    reward = _reward(source)
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


def _documents(source: Source) -> tuple[Sequence[Example], Sequence[Example]]:
    """The training and dev documents that the model summarizes."""
    prepared, settings = source.prepared, source.prepared.config.align
    seed = prepared.config.training.seed
    train = subset(prepared.splits.train, settings.pair_documents, seed)
    return train, subset(
        prepared.dev_examples, settings.pair_dev_documents, seed
    ) if settings.pair_dev_documents else []


def _reward(source: Source) -> Reward:
    settings = source.prepared.config.align
    words = settings.target_words or typical_words(source.prepared.splits.train)
    note(
        f"reward: ROUGE, less {settings.length_weight} for each {words} words beyond {words}, less "
        f"{settings.support_weight} for each unsupported claim"
    )
    return Reward(words, settings.length_weight, settings.support_weight)


def _preferred(run: RunDirectory, source: Source, engine: Engine) -> tuple[Sequence[EncodedExample], Objective]:
    """Pairs to train on and the DPO objective."""
    prepared, config = source.prepared, source.prepared.config
    form, limit = prepared.prompt_format, config.generation.max_new_tokens
    encoded = {split: encode_pairs(part, form, limit, split) for split, part in _pairs(run, source, engine).items()}
    return encoded["train"], _objective(run, config, engine, encoded, prepared.tokenizer.pad_id)


def _rewarded(source: Source) -> tuple[Sequence[EncodedExample], Objective]:
    """Documents to sample summaries of and the GRPO objective."""
    prepared, config = source.prepared, source.prepared.config
    settings, form = config.align, prepared.prompt_format
    train, dev = _documents(source)
    encoded = encode_references(train, form, config.generation.max_new_tokens)
    objective = GroupRelative(
        {item.id: example for item, example in zip(encoded, train, strict=True)},
        form,
        generation_spec(config, form.eos_ids),
        settings.samples,
        _reward(source),
        settings.kl_weight,
        source.adapter.weights if settings.reference == "start" else None,
        dev,
        config.training.micro_batch_tokens,
        prepared.tokenizer.pad_id,
    )
    return encoded, objective


def _objective(
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
