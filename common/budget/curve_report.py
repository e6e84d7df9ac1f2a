"""The learning-curve answer for one or many curves, as JSON values and as text. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.budget.curve_file import Curve
from common.budget.learning_curve import Projection, advice, fit
from common.text.amounts import short
from common.text.table import paragraph, text_table


def curve_answers(curves: Sequence[Curve], at: Sequence[float], up_to: float | None = None) -> list[dict[str, Any]]:
    """For each curve: what was fitted, projections at twice and ten times its largest size and at the sizes `at`.

    With `up_to`, larger sizes are left out of the fit, which shows how well it would have foreseen them.
    """
    answers = []
    for curve in curves:
        used = [(n, loss) for n, loss in zip(curve.sizes, curve.losses, strict=True) if up_to is None or n <= up_to]
        fitted = fit([n for n, _ in used], [loss for _, loss in used])
        largest = float(fitted.sizes[-1])
        double, tenfold = fitted.project(2 * largest), fitted.project(10 * largest)
        answers.append(
            {
                "name": curve.name,
                "sizes": fitted.sizes.tolist(),
                "losses": fitted.losses.tolist(),
                "constants": fitted.mean_constants(),
                "now": _as_dict(fitted.project(largest)),
                "double": _as_dict(double),
                "tenfold": _as_dict(tenfold),
                "projections": [_as_dict(fitted.project(size)) for size in at],
                "advice": advice(fitted, double, tenfold),
            }
        )
    return answers


def _as_dict(projection: Projection) -> dict[str, float]:
    return {"size": projection.size, "loss": projection.loss, "low": projection.low, "high": projection.high}


def curve_text(answers: Sequence[dict[str, Any]]) -> str:
    """A table of projections with their 90 % intervals, and the advice."""
    wanted = [projection["size"] for projection in answers[0]["projections"]]
    header = ["curve", "examples", "loss", "twice as many", "ten times as many"]
    header += [f"at {short(size)}" for size in wanted]
    rows = []
    for answer in answers:
        shown = [answer["double"], answer["tenfold"], *answer["projections"]]
        now = answer["now"]["loss"]
        cells = [f"{p['loss']:.3f} [{p['low']:.3f}, {p['high']:.3f}] {p['loss'] / now - 1:+.1%}" for p in shown]
        rows.append([answer["name"], f"{answer['sizes'][-1]:,.0f}", f"{answer['losses'][-1]:.3f}", *cells])
    about = (
        "Would more examples help? Loss projected by the rectified law of Lin et al. 2024 (arXiv 2402.02314), averaged "
        "over the curves that fit, with its 90 % interval, and the change from today's fitted loss."
    )
    lines = [paragraph(about), "", text_table(header, rows)]
    if len(answers) == 1:
        lines += ["", paragraph(answers[0]["advice"])]
    return "\n".join(lines)
