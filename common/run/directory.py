"""A run directory: its files, its lock, and what it takes to use a run again.

Formats are those that other tools read (config.yaml, environment.json, metrics.jsonl, adapter/, …). Knows nothing
of training itself.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import config as configuration
from common.data.prompts import Template, read_template, write_template
from common.errors import CheckpointError, ConfigError
from common.files import disk_error, sync_tree, write_json, write_text
from common.model.adapter import WEIGHTS_NAME
from common.order import resume_command
from common.settings import RunConfig
from common.text.amounts import finite
from common.version import VERSION


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run. Creating the object touches nothing."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def template(self) -> Path:
        return self.path / "template.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        """Of the system under test."""
        return self.path / "predictions.csv"

    def predictions_of(self, system: str) -> Path:
        """Of another system: `base`, a baseline or an earlier run."""
        return self.path / f"predictions-{system}.csv"

    def other_predictions(self) -> dict[str, Path]:
        """Every predictions_of() that is there, by system."""
        return {file.stem.partition("-")[2]: file for file in sorted(self.path.glob("predictions-*.csv"))}

    @property
    def evaluations(self) -> Path:
        """Holds a folder for each evaluation beside the run's own."""
        return self.path / "evaluations"

    @property
    def home(self) -> Path:
        """The run whose evaluation this is, where it lies in the run's `evaluations`; else the directory itself."""
        path = self.path if len(self.path.parts) > 2 else self.path.resolve()
        if path.parent.name != self.evaluations.name or self.config.is_file():
            return self.path
        return path.parents[1] if RunDirectory(path.parents[1]).config.is_file() else self.path

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def report_markdown(self) -> Path:
        return self.path / "report.md"

    @property
    def samples(self) -> Path:
        return self.path / "sample_predictions.txt"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    def report_files(self) -> tuple[Path, ...]:
        """Everything that a report consists of, there or not."""
        return self.report_markdown, self.samples, self.plots, self.report

    def results_are_outdated(self) -> bool:
        """Whether the adapter was written after the results."""
        weights = self.adapter / WEIGHTS_NAME
        return weights.is_file() and weights.stat().st_mtime > self.results.stat().st_mtime

    @property
    def non_finite(self) -> Path:
        """Which step and examples ended training, where a loss or gradient was not a number."""
        return self.path / "nonfinite.json"

    @property
    def finished_marker(self) -> Path:
        """Written when training has ended and adapter/ holds the chosen adapter."""
        return self.path / "finished.json"

    @property
    def previews(self) -> Path:
        return self.path / "previews.jsonl"

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one object to metrics.jsonl. Raises CheckpointError when the disk refuses."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise disk_error(self.metrics, error) from None

    def read_metrics(self) -> list[dict[str, Any]]:
        """Every whole row of metrics.jsonl by step; a last line that a crash cut short is left out."""
        return list(read_metrics(self.metrics)[0])

    def sync_metrics(self) -> None:
        """Flush metrics.jsonl to the disk, so that no checkpoint is newer than the rows up to it."""
        if self.metrics.is_file():
            try:
                sync_tree(self.metrics)
            except OSError as error:
                raise disk_error(self.metrics, error) from None

    def drop_rows_after(self, step: int) -> None:
        """Remove rows of metrics.jsonl and previews.jsonl past a restored step, so that they are not there twice."""
        for path in (self.metrics, self.previews):
            if path.is_file():
                rows = [row for row in read_metrics(path)[0] if row["step"] <= step]
                write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

    def refuse_links_out(self) -> None:
        """Raise CheckpointError where an entry is a symbolic link to outside: writing would follow it there."""
        if not self.path.is_dir():
            return
        home = self.path.resolve()
        for entry in sorted(self.path.iterdir()):
            if entry.is_symlink() and not entry.resolve().is_relative_to(home):
                raise CheckpointError(
                    f"{entry} is a link to {os.readlink(entry)}, outside the run directory, and would be written "
                    "through; replace it by what it points to"
                )


def read_metrics(path: Path) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """(rows of a file of logged steps, by step; what is wrong with it in a sentence each).

    Lines that hold no object with a step are left out.
    """
    if not path.is_file():
        return (), [f"{path.name} is missing: there is no training log here."]
    rows: list[dict[str, Any]] = []
    damaged: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and finite(row.get("step")) is not None:
            rows.append(row)
        else:
            damaged.append(number)
    wrong = [f"{path.name}: {len(damaged)} damaged rows left out, the first at line {damaged[0]}."] if damaged else []
    return tuple(sorted(rows, key=lambda row: row["step"])), wrong


def write_settings(run: RunDirectory, config: RunConfig, template: Template) -> None:
    """Write config.yaml and template.yaml."""
    configuration.write_yaml(config, run.config)
    write_template(template, run.template)


def write_environment(run: RunDirectory, facts: Mapping[str, Any]) -> None:
    """Write environment.json: versions, machine and git commit, and `facts` from the caller (engine, data)."""
    write_json(run.environment, {**environment_facts(), **facts})


def environment_facts() -> dict[str, Any]:
    """Versions of what matters, the machine, and the git commit if the code runs from a checkout."""
    from importlib.metadata import PackageNotFoundError, version

    packages = ("numpy", "torch", "transformers", "peft", "bitsandbytes", "mlx", "mlx-lm", "tokenizers", "rouge-score")
    versions = {"sumkit": VERSION, "python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "commit": _git_commit(),
    }


def _git_commit() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def open_run(path: str | Path) -> tuple[RunDirectory, RunConfig, Template]:
    """An existing run with its settings and template. Raises CheckpointError or ConfigError."""
    run = RunDirectory(Path(path))
    if not run.config.is_file():
        raise CheckpointError(f"{run.path} is not a run directory (no config.yaml); `sumkit train` makes one")
    config = configuration.read_config(run.config)
    if not run.template.is_file():
        raise ConfigError(f"{run.template} is missing; the run cannot be used without its prompt template")
    return run, config, read_template(run.template)


def require_adapter(run: RunDirectory, config: RunConfig) -> None:
    """Raise CheckpointError, with the command that goes on, where training has not ended."""
    if not run.adapter.is_dir():
        command = resume_command(run.path, config.align.start)
        raise CheckpointError(f"{run.path} has no adapter yet; finish training with `{command}`")
