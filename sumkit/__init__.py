"""sumkit in Python: `plan`, `train`, `evaluate` and `Summarizer` do what the commands `plan`, `train`, `eval` and
`summarize` do.

Settings are keyword arguments with the names of docs/settings.md: `--learning-rate` is `learning_rate`. What would
end a command with a message raises a `SumkitError` with that message. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.errors import SumkitError
from common.version import VERSION

if TYPE_CHECKING:
    from common import Summarizer as Summarizer
    from common.budget.planner import Plan

__all__ = ["SumkitError", "Summarizer", "__version__", "evaluate", "plan", "train"]

__version__ = VERSION


def plan(
    *,
    device: str = "auto",
    measure: bool = False,
    config: str | Path | None = None,
    recipe: str | None = None,
    **settings: Any,
) -> Plan:
    """Whether a run with these settings fits on a device, what would make it fit, and how long it takes.

    `config` is a YAML file with settings, `recipe` a published one; `settings` win over both. With `measure`, runs
    real steps on this machine for under a minute.
    """
    from common.budget.planner import make_plan
    from common.cli.options import config_from

    return make_plan(config_from(settings, config, recipe, origin="settings"), device, measure)


def train(
    *,
    resume: bool = False,
    adapt: bool = False,
    config: str | Path | None = None,
    recipe: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Fine-tune a model, score it and write its report; what `sumkit train --json` prints, as a dict.

    Its keys: `run` (the run directory), `steps`, `seconds`, `best_step`, `trained_now`, `compute` and `results` (see
    `evaluate`; None where nothing is held out). `resume` continues the run that `run` names, under the settings given.
    `adapt` changes what `plan` would change where the run does not fit. After Ctrl-C, the run is saved and
    KeyboardInterrupt raised.

    Runs in this process: only the command can start over with half the micro-batch when memory runs out.
    """
    from common.cli.options import config_from
    from common.journey import train_and_evaluate
    from common.order import Order, with_run

    wanted = with_run(config_from(settings, config, recipe, origin="settings"))
    outcome = train_and_evaluate(Order(wanted, resume=resume, adapt=adapt))
    if outcome.exit_code:
        raise KeyboardInterrupt
    return outcome.summary


def evaluate(
    run: str | Path,
    *,
    data: str | Path = "",
    split: str = "",
    limit: int = 0,
    multi_reference: Literal["best", "mean"] = "best",
    base: bool = True,
    base_template: str = "auto",
    beside: Sequence[str | Path] = (),
    bertscore: str = "",
    engine: Literal["auto", "mlx", "cuda"] = "auto",
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Score a run against the untuned model and simple baselines; the dict that its `results.json` then holds.

    Results stay in the run; a narrower evaluation than the one that is there goes to RUN/evaluations.

    data      file, directory or data set name; empty for the run's own
    split     train, dev or test; empty for test, or dev where there is no test
    limit     score at most this many documents; 0 for all
    base      also score the untuned model, with the prompt that `base_template` names
    beside    earlier runs to score on the same documents
    bertscore an encoder to score BERTScore with
    out       another directory for results.json, predictions.csv and report.html
    """
    from common.evaluation.run_evaluation import EvalOptions, evaluate_run
    from common.report.write import write_report
    from common.run.loaded_run import load_run

    earlier = tuple(Path(other) for other in beside)
    options = EvalOptions(str(data), split, limit, multi_reference, base, base_template, earlier, bertscore)
    results, place = evaluate_run(load_run(run, engine), options, Path(out) if out else None)
    write_report(place)
    return results


def __getattr__(name: str) -> Any:
    """Import `Summarizer` when it is first asked for."""
    if name == "Summarizer":
        from common import Summarizer

        return Summarizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
