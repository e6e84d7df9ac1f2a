"""Everything a report says, gathered once; HTML, Markdown and the sample file are written from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.report.examples import ShownExample, faithfulness_note, show_examples
from common.report.figures import build_plots
from common.report.plot_style import Plot
from common.report.verdict import Verdict, judge
from common.run.contents import RunFiles, read_run


@dataclass(frozen=True)
class ReportContent:
    """A run with what was concluded from it: verdict, plots, examples by group, and a sentence on faithfulness."""

    run: RunFiles
    verdict: Verdict
    plots: tuple[Plot, ...]
    examples: dict[str, list[ShownExample]]
    faithfulness: str

    def plot(self, name: str) -> Plot | None:
        """The plot of that name, None where the run has no data for it."""
        return next((plot for plot in self.plots if plot.name == name), None)


def gather(path: Path) -> ReportContent:
    """Read a run directory and work out its report. Raises CheckpointError when there is no run."""
    run = read_run(path)
    verdict = judge(run)
    plots = tuple(build_plots(run, verdict.comparisons))
    return ReportContent(run, verdict, plots, show_examples(run), faithfulness_note(run))
