"""From resolved settings to what a run is made of before an engine exists: model, tokenizer, prompts, encoded data.

Also the engine's own settings as the run's describe them. Knows nothing of steps, run directories or plans.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from common.data.encode import EncodeReport, encode_examples
from common.data.mixing import mixed_examples
from common.data.prompts import PromptFormat, Template, find_template
from common.data.report import merge_reports
from common.data.sources import Splits, large_training_file, load_held_out, load_splits
from common.data.stored_set import store_training_file
from common.engine import EngineSpec, GenerationSpec, LoraSpec, OptimizerSpec
from common.errors import DataError
from common.files import sha256_text
from common.model.architecture import ModelShape
from common.model.models import LocalModel, cache_directory
from common.model.tokenizer import TextTokenizer, added_names
from common.process.rank import process_rank
from common.run.model_prompt import open_prompt
from common.settings import RunConfig
from common.types import EncodedExample, Example


@dataclass(frozen=True)
class Prepared:
    """Everything a training run needs before its engine is built."""

    config: RunConfig
    model: LocalModel
    tokenizer: TextTokenizer
    template: Template
    prompt_format: PromptFormat
    splits: Splits
    train_set: Sequence[EncodedExample]
    dev_set: Sequence[EncodedExample]
    dev_examples: Sequence[Example]
    report: EncodeReport
    data_fingerprint: str


def lora_spec(config: RunConfig, tokenizer: TextTokenizer | None = None) -> LoraSpec:
    """The adapter that the settings describe. Without the run's tokenizer it has no rows of added tokens."""
    lora = config.lora
    names = tuple(dict.fromkeys(name.strip() for name in lora.target_modules.split(",") if name.strip()))
    return LoraSpec(
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        target_modules="all-linear" if names == ("all-linear",) else names,
        layers=lora.adapter_layers,
        rank_stabilised=lora.rank_stabilised,
        dora=lora.dora,
        token_ids=tokenizer.added_ids if tokenizer else (),
        seed=config.training.seed,
    )


def planned_lora(config: RunConfig, shape: ModelShape) -> LoraSpec:
    """`lora_spec` for counting, without a tokenizer: as many rows of added tokens, under ids that the model has."""
    count = len(added_names(config.lora.added_tokens))
    return dataclasses.replace(lora_spec(config), token_ids=tuple(range(shape.vocab_size - count, shape.vocab_size)))


def engine_spec(config: RunConfig, model: LocalModel, lora: LoraSpec | None) -> EngineSpec:
    """What the engine is built from."""
    training = config.training
    return EngineSpec(
        model_dir=model.directory,
        quantize=config.model.quantize,
        dtype=config.model.dtype,
        lora=lora,
        optimizer=OptimizerSpec(
            name=training.optimizer,
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            lora_plus_ratio=training.lora_plus_ratio,
        ),
        gradient_checkpointing=config.model.gradient_checkpointing,
        compile=config.model.compile,
        neftune_alpha=training.neftune_alpha,
        seed=training.seed,
    )


def generation_spec(config: RunConfig, eos_ids: tuple[int, ...]) -> GenerationSpec:
    """How evaluation and previews generate."""
    generation = config.generation
    return GenerationSpec(
        max_new_tokens=generation.max_new_tokens,
        eos_ids=eos_ids,
        beams=generation.beams,
        max_batch_tokens=generation.generation_batch_tokens,
        seed=config.training.seed,
    )


def prepare(config: RunConfig) -> Prepared:
    """Load and encode the data for a model. Raises DataError, ModelError or ConfigError with the remedy."""
    if not config.data.data:
        raise DataError("no data: give --data a directory, a file or a data set name (`--data demo` is embedded)")
    if config.output.base_template not in ("auto", "same"):
        find_template(config.output.base_template)
    large = large_training_file(config.data)
    # before a model is downloaded: mistakes are cheapest here
    splits = load_held_out(config.data) if large else load_splits(config.data, config.training.seed)
    opened = open_prompt(config, conversations=any(example.messages for example in splits.train or splits.dev))
    form = opened.form
    dev_examples = subset(splits.dev, config.data.limit_dev, config.training.seed)
    train_set: Sequence[EncodedExample]
    if large:
        rank = process_rank()  # ranks may be on machines that share no disk, and may not write to one store
        directory = cache_directory() / "prepared" / (f"rank-{rank}" if rank else "")
        stored = store_training_file(large, config.data, form, directory, [*splits.dev, *splits.test])
        train_set, report = stored.examples, stored.encode_report
        fingerprint = sha256_text(stored.key + fingerprint_of(dev_examples))
        data_report = merge_reports(config.data.data, [stored.data_report, splits.report])
        splits = dataclasses.replace(splits, report=data_report)
    else:
        seed = config.training.seed
        train_examples = subset(mixed_examples(splits.train, config.data, seed), config.data.limit_train, seed)
        train_set, report = encode_examples(train_examples, form)
        fingerprint = fingerprint_of(train_examples, dev_examples)
    dev_set, _ = encode_examples(dev_examples, form)
    if not train_set:
        reasons = [*report.lines()[1:], *splits.report.notes]
        raise DataError("\n  ".join([f"{config.data.data}: no training example is left", *reasons]))
    parts = (opened.model, opened.tokenizer, opened.template, form)
    return Prepared(config, *parts, splits, train_set, dev_set, dev_examples, report, fingerprint)


def subset(examples: Sequence[Example], limit: int, seed: int) -> list[Example]:
    """At most `limit` examples (0: all), the same ones for the same seed and nested as the limit grows."""
    if not limit or limit >= len(examples):
        return list(examples)
    ranked = sorted(range(len(examples)), key=lambda i: sha256_text(f"{seed}:{examples[i].id}"))
    return [examples[i] for i in sorted(ranked[:limit])]


def fingerprint_of(*sets: Sequence[Example]) -> str:
    """SHA-256 over ids, documents and summaries, in order: tells whether a run resumes on the same data."""
    parts = [f"{e.id}\x00{e.document}\x00{e.summary}" for examples in sets for e in examples]
    return sha256_text("\x01".join(sha256_text(part) for part in parts))
