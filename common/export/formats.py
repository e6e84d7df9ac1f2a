"""What every export format gives: how it is written, how it is run for the check, and what its card must say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.export.answers import Answers, Sample
from common.export.run_with_engine import Reference
from common.export.source import ExportOptions, ExportSource

Write = Callable[[ExportSource, ExportOptions, Path], list[str]]
Answer = Callable[[ExportSource, ExportOptions, Path, Sample, Reference], Answers]
Usage = Callable[[ExportSource, ExportOptions, str], str]


@dataclass(frozen=True)
class ExportFormat:
    """One export format.

    write      fill an empty directory; returns notes for the user
    answers    run what was written; raises EngineError when the program that does so is not installed
    usage      Markdown that shows how to use it, given the name it will have (a path or repository)
    library    `library_name` of the Hub
    relation   how it relates to its base, in the Hub's words
    adapter    whether it holds the adapter alone, to be put on an unquantized base
    quantizes  whether writing quantizes, so that what it costs is measured, not bounded
    """

    name: str
    summary: str
    write: Write
    answers: Answer
    usage: Usage
    library: str
    relation: Literal["adapter", "finetune", "quantized"]
    adapter: bool = False
    quantizes: Callable[[ExportOptions], bool] = lambda options: False
