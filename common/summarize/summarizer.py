"""A model made ready to summarize: `Summarizer.load("runs/x").summarize(text)`.

The same prompt, cleaning and stop tokens as in training and evaluation. Knows nothing of files, command lines or
servers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from common.data.columns import DOCUMENT_NAMES
from common.data.prompts import PromptFormat, find_template
from common.engine import Engine, GenerationSpec, choose_engine, load_engine
from common.errors import DataError
from common.files import sha256_file
from common.settings import RunConfig
from common.summarize.faithful import BY_DEFAULT, Supporting, calibrated
from common.summarize.summary import Summary, SummaryOptions
from common.summarize.summary_job import OnDone, OnText, SummaryJob

if TYPE_CHECKING:
    from common.run.loaded_run import LoadedRun

Quantize = Literal["4bit", "8bit", "none"]
Origin = tuple[tuple[str, Any], ...]  # arguments of `Summarizer.load` that give this summarizer again


class Summarizer:
    """One model with its prompt. Build with `Summarizer.load`.

    name         what it is called in output: the run, or the model with `(zero-shot)`
    adapted      False summarizes with the adapter switched off
    supporting   what checks summaries where evidence or faithfulness is asked for
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        prompt_format: PromptFormat,
        spec: GenerationSpec,
        adapted: bool = True,
        origin: Origin | None = None,
        supporting: Supporting = BY_DEFAULT,
    ) -> None:
        self.name = name
        self.engine = engine
        self.prompt_format = prompt_format
        self.spec = spec
        self.adapted = adapted
        self.supporting = supporting
        self._origin = origin

    @classmethod
    def load(
        cls,
        run: str | Path | None = None,
        *,
        model: str | None = None,
        engine: str = "auto",
        template: str | None = None,
        quantize: Quantize = "4bit",
    ) -> Summarizer:
        """A trained run, or with `model` an untuned model zero-shot (`quantize` is for that one).

        `template` replaces the run's own (built-in name or YAML file). Raises CheckpointError, ModelError,
        AdapterError, ConfigError or EngineError with the remedy.
        """
        if (run is None) == (model is None):
            raise DataError("give either a run directory or model=NAME")
        if run is not None:
            return cls._from_run(run, engine, template)
        assert model is not None
        return cls._zero_shot(model, engine, template, quantize)

    @classmethod
    def _from_run(cls, run: str | Path, engine: str, template: str | None) -> Summarizer:
        from common.model.adapter import WEIGHTS_NAME
        from common.run.loaded_run import load_run

        loaded = load_run(run, engine)
        fingerprint = sha256_file(loaded.run.adapter / WEIGHTS_NAME)
        origin = (("run", str(run)), ("engine", engine), ("template", template), ("adapter", fingerprint))
        return cls.from_loaded(loaded, template, origin)

    @classmethod
    def from_loaded(cls, loaded: LoadedRun, template: str | None = None, origin: Origin | None = None) -> Summarizer:
        """A summarizer over a run that is loaded already."""
        from common.run.preparation import generation_spec

        form = loaded.format_for(template) if template else loaded.prompt_format
        name = loaded.run.path.name or str(loaded.run.path.resolve())
        spec = generation_spec(loaded.config, form.eos_ids)
        return cls(name, loaded.engine, form, spec, origin=origin, supporting=calibrated(loaded.run))

    @classmethod
    def _zero_shot(cls, model: str, engine: str, template: str | None, quantize: Quantize) -> Summarizer:
        from common.run.model_prompt import open_prompt
        from common.run.preparation import engine_spec, generation_spec

        settings = RunConfig()
        config = dataclasses.replace(
            settings, model=dataclasses.replace(settings.model, model=model, quantize=quantize)
        )
        opened = open_prompt(config, find_template(template) if template else None)
        form = opened.form
        engine_name, _ = choose_engine(engine)
        built = load_engine(engine_name, engine_spec(config, opened.model, None))
        origin = (("model", model), ("engine", engine), ("template", template), ("quantize", quantize))
        return cls(f"{model} (zero-shot)", built, form, generation_spec(config, form.eos_ids), origin=origin)

    @overload
    def summarize(self, texts: str, options: SummaryOptions | None = None, **changes: Any) -> Summary: ...

    @overload
    def summarize(
        self, texts: Sequence[str], options: SummaryOptions | None = None, **changes: Any
    ) -> list[Summary]: ...

    def summarize(
        self, texts: str | Sequence[str], options: SummaryOptions | None = None, **changes: Any
    ) -> Summary | list[Summary]:
        """One summary for a text, a list in the same order for several, generated together.

        `changes` are fields of `SummaryOptions`: `summarize(text, long="two-stage", max_words=30)`.
        """
        chosen = dataclasses.replace(options or SummaryOptions(), **changes)
        if isinstance(texts, str):
            return self.summarize_all([texts], chosen)[0]
        return self.summarize_all(list(texts), chosen)

    def summarize_all(
        self,
        texts: Sequence[str],
        options: SummaryOptions,
        on_text: OnText | None = None,
        on_done: OnDone | None = None,
        keep_going: Callable[[], None] | None = None,
    ) -> list[Summary]:
        """Summaries in input order. Reports by position: pieces of text as they appear, and each summary when done.

        `keep_going` is called after every generated token and raises to end the work. A text without words gets a
        summary with stop reason `error`, as does one that cannot be generated; the others go on.
        """
        form = self.prompt_format.with_max_words(options.max_words or self.prompt_format.max_words)
        job = SummaryJob(self.engine, form, self.spec, texts, options, on_text, on_done, keep_going, self.supporting)
        self.engine.enable_adapter(self.adapted)
        try:
            return job.run()
        finally:
            self.engine.enable_adapter(True)

    def __call__(self, given: Any) -> Any:
        """For `dataset.map` (batched or not) and pandas: the summaries in the shape of what is given.

        A text gives its summary's text. A row or batch of rows (a mapping with a document column) gives
        `{"summary": …}`. Anything else is taken for a column of texts and gives a list of texts.
        """
        if isinstance(given, str):
            return self.summarize(given).text
        if isinstance(given, Mapping):
            return {"summary": self(given[_document_column(list(given.keys()))])}
        if hasattr(given, "columns"):
            raise DataError("this is a whole table; give one column of it, as in summarizer(table['document'])")
        return [summary.text for summary in self.summarize(list(given))]

    def untuned(self, template: str | None, format_for: Callable[[str], PromptFormat]) -> Summarizer:
        """The same engine with its adapter switched off, under another template."""
        form = format_for(template) if template else self.prompt_format
        spec = dataclasses.replace(self.spec, eos_ids=form.eos_ids)
        return Summarizer(f"{self.name} (untuned)", self.engine, form, spec, adapted=False, supporting=self.supporting)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what to load: `datasets` hashes its functions and sends them to other processes."""
        if self._origin is None:
            raise DataError("this summarizer was not made by Summarizer.load and cannot be sent to another process")
        return _load_again, (self._origin,)


def _load_again(origin: Origin) -> Summarizer:
    arguments = dict(origin)
    arguments.pop("adapter", None)
    return Summarizer.load(**arguments)


def _document_column(columns: list[str]) -> str:
    by_name = {column.lower(): column for column in columns}
    found = next((by_name[name] for name in DOCUMENT_NAMES if name in by_name), None)
    if found is None:
        listed = ", ".join(columns)
        raise DataError(f"none of the columns {listed} is a document; rename one to document, or give a column itself")
    return found
