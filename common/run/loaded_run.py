"""A run directory made ready to summarize: settings, template, tokenizer, and an engine that carries its adapter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from common.data.prompts import PromptFormat, Template, find_template
from common.engine import Engine, OptimizerSpec, choose_engine, load_engine
from common.errors import AdapterError
from common.model.adapter import read_adapter
from common.model.models import LocalModel
from common.model.tokenizer import TextTokenizer
from common.run.directory import RunDirectory, open_run, require_adapter
from common.run.model_prompt import open_prompt, prompt_format
from common.run.preparation import engine_spec, lora_spec
from common.settings import RunConfig


@dataclass(frozen=True)
class LoadedRun:
    """A run ready to summarize: its engine carries the chosen adapter."""

    run: RunDirectory
    config: RunConfig
    template: Template
    model: LocalModel
    tokenizer: TextTokenizer
    prompt_format: PromptFormat
    engine: Engine

    def format_for(self, template: str) -> PromptFormat:
        """The run's lengths under another built-in template."""
        return prompt_format(self.config, find_template(template), self.tokenizer, self.model.shape.context_tokens)


def load_run(path: str | Path, engine_name: str = "auto") -> LoadedRun:
    """Load a run's model and adapter for inference. `auto` prefers the engine that this machine would train with.

    Raises CheckpointError, ModelError, AdapterError or EngineError with the remedy.
    """
    run, config, template = open_run(path)
    require_adapter(run, config)
    opened = open_prompt(config, template)
    model, tokenizer = opened.model, opened.tokenizer
    stored = read_adapter(run.adapter, model.shape)
    name, _ = choose_engine(engine_name)
    lora = dataclasses.replace(lora_spec(config, tokenizer), dropout=0.0)
    if stored.lora.token_ids != lora.token_ids:
        raise AdapterError(
            f"{run.adapter} trains the tokens {list(stored.lora.token_ids)}, the run's tokenizer adds "
            f"{list(lora.token_ids)}: the base model's tokenizer is another one now"
        )
    spec = engine_spec(config, model, lora)
    # No step is made here, so that a run trained with an optimizer of one engine opens on the other too.
    engine = load_engine(name, dataclasses.replace(spec, optimizer=OptimizerSpec()))
    engine.load_adapter(stored.weights)
    return LoadedRun(run, config, template, model, tokenizer, opened.form, engine)
