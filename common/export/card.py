"""The model card: a README in the Hub's format, from what the run's files and the export's check say.

States figures only with where they come from; names data sets that are public, and never a path of this machine.
Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.named import find_hub_set
from common.export.check import Verification
from common.export.formats import ExportFormat
from common.export.source import ExportOptions, ExportSource
from common.model.presets import find_preset
from common.report.tables import score_table, stop_counts
from common.report.verdict import judge
from common.run.contents import RunFiles, read_run
from common.safe_text import markdown_text
from common.text.amounts import mapping, read_interval
from common.text.names import metric_label

# Where a licence is named on the data set's own page.
DATA_LICENCES = {
    "demo": "Apache-2.0",
    "samsum": "CC BY-NC-ND 4.0 (not for commercial use)",
    "dialogsum": "CC BY-NC-SA 4.0 (not for commercial use)",
    "oasst1": "Apache-2.0",
}
TAGS = ["summarization", "sumkit"]
SPACE_SETTINGS: dict[str, Any] = {
    "emoji": "📝",
    "colorFrom": "indigo",
    "colorTo": "green",
    "sdk": "gradio",
    "sdk_version": "6.31.0",
    "python_version": "3.11",
    "app_file": "app.py",
    "pinned": False,
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from. `verification` is None for an export that was not checked.

    name   the run's, for the title
    place  what loads it: the Hub repository it is made for, else the export's own folder
    """

    source: ExportSource
    options: ExportOptions
    chosen: ExportFormat
    notes: tuple[str, ...]
    verification: Verification | None
    name: str
    place: str


def write_card(facts: CardFacts, directory: Path) -> None:
    """Write README.md."""
    run = read_run(facts.source.run.path)
    text = f"---\n{_front_matter(facts, run)}\n---\n\n{_body(facts, run)}"
    (directory / "README.md").write_text(text, encoding="utf-8")


def is_export(directory: Path) -> bool:
    """Whether a directory holds an export, which its card tells."""
    import yaml
    from huggingface_hub.repocard import metadata_load

    try:
        front = metadata_load(directory / "README.md")
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return front is not None and "sumkit" in (front.get("tags") or ())


def _front_matter(facts: CardFacts, run: RunFiles) -> str:
    import yaml
    from huggingface_hub import ModelCardData

    source = facts.source
    licence = base_licence(source)
    named: dict[str, Any] = (
        {"license": licence} if licence else {"license": "other", "license_name": "of-the-base-model"}
    )
    data = public_data(source)
    if facts.chosen.name == "space":
        front = {"title": f"Summarizer {facts.name}", **SPACE_SETTINGS, "tags": TAGS, **named}
        if _base_ids(source):
            front["models"] = _base_ids(source)
        return yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()
    card = ModelCardData(
        model_name=facts.name,
        base_model=_base_ids(source) or None,
        base_model_relation=facts.chosen.relation,
        library_name=facts.chosen.library,
        pipeline_tag="text-generation",  # what the Hub's own code samples must call; the tag says what it is for
        tags=[*TAGS, "lora"],
        datasets=[data] if data and "/" in data else None,
        eval_results=_eval_results(run, data) or None,
        **named,
    )
    return str(card.to_yaml())


def _base_ids(source: ExportSource) -> list[str]:
    """The base as a link of the Hub; none where it only exists on this machine."""
    return [source.base_name] if source.base_name.count("/") == 1 else []


def base_licence(source: ExportSource) -> str:
    """The base's licence as the Hub names it, empty where it is not known."""
    preset = find_preset(source.config.model.model)
    return preset.licence if preset else ""


def public_data(source: ExportSource) -> str:
    """The data set's Hub id, `demo`, or nothing for data of one's own."""
    name = source.config.data.data
    if name == "demo":
        return name
    known = None if Path(name).expanduser().exists() else find_hub_set(name)
    return known.repository if known else ""


def _eval_results(run: RunFiles, data: str) -> list[Any]:
    from huggingface_hub import EvalResult

    tuned = mapping(mapping(run.results.get("systems")).get("tuned"))
    found = []
    for measure in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        score = read_interval(tuned.get(measure))
        if score is not None:
            found.append(
                EvalResult(
                    task_type="summarization",
                    dataset_type=data if "/" in data else "own",
                    dataset_name=data or "own data",
                    dataset_split=str(run.results.get("split") or "test"),
                    metric_type="rouge",
                    metric_name=metric_label(measure),
                    metric_value=round(score.mean, 2),
                )
            )
    return found


def _body(facts: CardFacts, run: RunFiles) -> str:
    source = facts.source
    parts = [
        f"# {facts.name}",
        f"Writes short summaries. Fine-tuned from {_link(source)} with LoRA by sumkit. {facts.chosen.summary}",
        "## Use",
        _usage(facts),
        "The prompt it was trained with, `{document}` being the text to summarize"
        + (f" (after `{source.prompt.bos}`):" if source.prompt.bos else ":"),
        _fenced(f"{source.prompt.before}{{document}}{source.prompt.after}"),
        "## Scores",
        *_scores(run),
        "## This export",
        *_check(facts),
        "## Training",
        _table([("setting", "value"), *_training(source, run)]),
        "## Limits",
        _bullets(_limits(source, run)),
        "## Licences",
        _bullets(_licences(source)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _usage(facts: CardFacts) -> str:
    usage = facts.chosen.usage(facts.source, facts.options, facts.place)
    if "/" in facts.place or facts.place not in usage:
        return usage
    return f"In the directory that holds the folder `{facts.place}`:\n\n{usage}"


def _link(source: ExportSource) -> str:
    ids = _base_ids(source)
    return f"[{ids[0]}](https://huggingface.co/{ids[0]})" if ids else f"`{source.base_name}`"


def _scores(run: RunFiles) -> list[str]:
    metrics, rows = score_table(run.results)
    if not rows:
        return [f"Not evaluated: the run has no {run.directory.results.name}. Do not trust it before `sumkit eval`."]
    header = ("system", *map(metric_label, metrics))
    table = [header, *((row.label, *(str(score) if score else "–" for score in row.scores)) for row in rows)]
    data = f"{run.results.get('examples')} {run.results.get('split')} documents"
    note = (
        f"Percent, with 95 % intervals over {data}, scored as rouge-score does with its stemmer: the run's own "
        f"scores, on the {run.results.get('engine')} engine."
    )
    return [f"**{markdown_text(judge(run).headline)}.**", _table(table), note]


def _check(facts: CardFacts) -> list[str]:
    notes = _bullets(facts.notes)
    if facts.verification is None:
        return [notes, "It was **not checked** after it was written."]
    return [
        notes,
        "It was run after it was written, and compared with the run it came from:",
        _bullets(facts.verification.lines()),
    ]


def _training(source: ExportSource, run: RunFiles) -> list[tuple[str, str]]:
    config, lora = source.config, source.adapter.lora
    environment = run.environment
    data = mapping(environment.get("training_data"))
    rows = [
        ("data", public_data(source) or "own data, not published"),
        ("training examples", _count(data.get("examples"))),
        ("epochs", f"{config.training.epochs:g}"),
        ("optimizer steps", _count(run.metrics[-1]["step"] if run.metrics else None)),
        ("learning rate", f"{config.training.learning_rate:g} ({config.training.schedule})"),
        ("batch size", str(config.training.batch_size)),
        ("LoRA rank, alpha, dropout", f"{lora.rank}, {lora.alpha:g}, {config.lora.dropout:g}"),
        ("adapted layers", ", ".join(lora.target_modules) if lora.target_modules != "all-linear" else "all linear"),
        ("base in training", {"4bit": "4 bits", "8bit": "8 bits", "none": "not quantized"}[config.model.quantize]),
        ("longest prompt and summary", f"{source.form.max_length} tokens"),
        ("engine and device", f"{environment.get('engine')}, {mapping(environment.get('device')).get('name')}"),
        ("seed", str(config.training.seed)),
    ]
    return [(name, value) for name, value in rows if value and "None" not in value]


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else ""


def _limits(source: ExportSource, run: RunFiles) -> list[str]:
    room = source.form.document_room(source.config.generation.max_new_tokens)
    said = [
        "Summaries can state things that the document does not: check names and numbers before you rely on them.",
        f"Documents were cut to about {room:,} tokens in training; cut longer ones too, or summarize them in parts.",
        "It learnt the style, length and language of its training summaries and is not meant for others.",
    ]
    tuned = stop_counts(run).get("tuned", {})
    total = sum(tuned.values())
    if total and tuned.get("length"):
        said.append(f"In evaluation {tuned['length']:,} of {total:,} summaries reached the length limit.")
    unsupported = read_interval(mapping(mapping(run.results.get("systems")).get("tuned")).get("unsupported_claims"))
    if unsupported is not None:
        said.append(f"In evaluation a summary held {unsupported.mean:.2f} unsupported numbers or names on average.")
    return said


def _licences(source: ExportSource) -> list[str]:
    licence = base_licence(source)
    data = source.config.data.data
    return [
        f"Base model: {licence or 'see its own page; sumkit does not know it'}. It governs this model too.",
        f"Training data: {DATA_LICENCES.get(data, 'not known to sumkit; check before you pass the model on')}.",
    ]


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(item)}" for item in items)


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
