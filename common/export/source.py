"""A finished run as exports need it: base model, adapter, prompt, and how the base was quantized while training."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.data.prompts import PromptFormat
from common.engine import EngineName, choose_engine, installed
from common.errors import CheckpointError
from common.export.merge import BaseQuantization, MergedWeights, run_quantization
from common.export.prompt_text import PromptText, prompt_text
from common.model.adapter import StoredAdapter, check_adapter, read_adapter
from common.model.models import LocalModel
from common.model.presets import find_preset
from common.model.tokenizer import TextTokenizer
from common.progress import note
from common.run.directory import RunDirectory, open_run, require_adapter
from common.run.model_prompt import open_prompt
from common.settings import RunConfig


@dataclass(frozen=True)
class ExportOptions:
    """What can be chosen about an export.

    gguf_type    how a GGUF file stores matrices
    dtype        of merged weights; `auto` keeps the base's 16-bit type
    base_values  `trained`: the base counts with the values it had while training (dequantized);
                 `original`: with its own, which no quantization has touched
    """

    gguf_type: Literal["f16", "q8_0", "q4_k_m"] = "q4_k_m"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    base_values: Literal["trained", "original"] = "trained"


@dataclass(frozen=True)
class ExportSource:
    """A run opened for export. No weights are loaded.

    engine       what the run is checked with on this machine
    own_engine   whether that is the engine it was trained on
    quantization how the base's linear layers were quantized in training
    """

    run: RunDirectory
    config: RunConfig
    model: LocalModel
    tokenizer: TextTokenizer
    form: PromptFormat
    prompt: PromptText
    adapter: StoredAdapter
    engine: EngineName
    own_engine: bool
    quantization: BaseQuantization

    @property
    def base_name(self) -> str:
        """The base model's Hub id where it has one, else the name of its directory."""
        preset = find_preset(self.config.model.model)
        if preset:
            return preset.hub_id
        path = Path(self.config.model.model).expanduser()
        return path.resolve().name if path.exists() else self.config.model.model

    def merged(self, options: ExportOptions) -> MergedWeights:
        """Base and adapter as one set of weights. Raises ModelError or AdapterError."""
        trained = options.base_values == "trained"
        quantization = self.quantization if trained else BaseQuantization()
        return MergedWeights(self.model.directory, self.model.shape, self.adapter, quantization)

    def base_config(self) -> dict[str, Any]:
        """The base's config.json."""
        config: dict[str, Any] = json.loads((self.model.directory / "config.json").read_text(encoding="utf-8"))
        return config


def open_source(path: str | Path, engine: str = "auto") -> ExportSource:
    """Open a run for export. Raises CheckpointError, ConfigError, ModelError, AdapterError or EngineError."""
    run, config, template = open_run(path)
    require_adapter(run, config)
    opened = open_prompt(config, template)
    adapter = read_adapter(run.adapter)
    check_adapter(adapter.weights, opened.model.shape, adapter.lora)
    trained_on, compute_dtype = _training_engine(run, config)
    wanted = trained_on if engine == "auto" and trained_on in ("mlx", "cuda") and installed(trained_on) else engine
    name, _ = choose_engine(wanted)
    if trained_on not in ("auto", name):
        note(f"the run was trained on the {trained_on} engine; here it is checked with the {name} engine")
    return ExportSource(
        run=run,
        config=config,
        model=opened.model,
        tokenizer=opened.tokenizer,
        form=opened.form,
        prompt=prompt_text(opened.form),
        adapter=dataclasses.replace(adapter, lora=dataclasses.replace(adapter.lora, dropout=0.0)),
        engine=name,
        own_engine=trained_on in ("auto", name),
        quantization=run_quantization(
            name if trained_on == "auto" else trained_on, config.model.quantize, compute_dtype
        ),
    )


def _training_engine(run: RunDirectory, config: RunConfig) -> tuple[str, str]:
    """Engine and compute type that the run was trained with, as far as it says."""
    try:
        facts = json.loads(run.environment.read_text(encoding="utf-8"))
    except FileNotFoundError:
        facts = {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run.environment} cannot be read as JSON ({error})") from None
    device = facts.get("device") if isinstance(facts.get("device"), dict) else {}
    return str(facts.get("engine") or config.output.engine), str(device.get("compute_dtype") or "float32")
