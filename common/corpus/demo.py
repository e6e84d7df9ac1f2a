"""The whole journey on the embedded corpus with a small real model: settings, and what is said at the end."""

from __future__ import annotations

from pathlib import Path

from common.run.directory import RunDirectory
from common.run.predictions import read_predictions
from common.safe_text import visible
from common.settings import (
    DataSettings,
    EvaluationSettings,
    GenerationSettings,
    ModelSettings,
    OutputSettings,
    PromptSettings,
    RunConfig,
    TrainingSettings,
)

RUN = Path("runs/demo")


def demo_config(run: Path = RUN, engine: str = "auto") -> RunConfig:
    """SmolLM2-135M, unquantized (it is small enough everywhere), on 180 documents; a few minutes on two cores."""
    return RunConfig(
        data=DataSettings(data="demo", limit_dev=0),
        prompt=PromptSettings(max_length=512),
        model=ModelSettings(model="smollm2-135m", quantize="none"),
        training=TrainingSettings(epochs=1, learning_rate=2e-3, batch_size=8),
        evaluation=EvaluationSettings(eval_every=12),
        generation=GenerationSettings(max_new_tokens=64),
        # The untuned model is best under `chat` (docs/decisions.md); choosing again would take minutes.
        output=OutputSettings(run=str(run), test_limit=0, base_template="chat", engine=engine),  # type: ignore[arg-type]
    )


def before_and_after(run: Path, count: int = 3) -> str:
    """The shortest documents of the test set with their untuned, tuned and human summaries."""
    files = RunDirectory(run)
    tuned, _ = read_predictions(files.predictions)
    base = {row.key: row.prediction for row in read_predictions(files.predictions_of("base"))[0]}
    parts = [
        f"--- {row.id}\n{row.document}\n\n"
        f"  untuned:    {base[row.key]}\n"
        f"  fine-tuned: {row.prediction}\n"
        f"  human:      {row.reference}"
        for row in sorted(tuned, key=lambda row: len(row.document))[:count]
    ]
    return visible("\n\n".join(parts))


def next_commands(run: Path) -> str:
    """Three commands to type after the demo."""
    return "\n".join(
        (
            "Next:",
            "  sumkit data YOUR_DATA                      look at your documents first (JSONL, CSV, Parquet)",
            "  sumkit train --data YOUR_DATA --run runs/mine",
            f"  sumkit eval {run} --data YOUR_DATA         how the demo's model does on them",
        )
    )
