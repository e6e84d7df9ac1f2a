"""The parametric loss fitted anew to the training runs read off Hoffmann et al.'s figure 4.

    python benchmarks/chinchilla_refit.py SCALING_DIR

SCALING_DIR holds chinchilla_points.csv. Follows Besiroglu et al. 2024 (arXiv 2404.10102): the sum of Huber losses
(delta 1e-3) of log-loss residuals, the five runs with the fewest tokens per parameter left out, the best of a grid
of starts. Their stated standard errors judge the result.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import headline, write_result
from common.budget.chinchilla import BESIROGLU, HOFFMANN, ParametricLoss

DELTA = 1e-3
LEFT_OUT = 5
# Table 1 of Besiroglu et al. 2024.
STATED_ERRORS = {"E": 0.03, "A": 124.58, "B": 1293.23, "alpha": 0.02, "beta": 0.02}
STARTS = {"log_a": (0, 5, 10, 15, 20), "log_b": (0, 5, 10, 15, 20), "log_e": (-0.5, 0.5), "exponent": (0.2, 0.7, 1.2)}


def read_points(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, tokens (C / 6N) and loss of the runs, without the five of fewest tokens per parameter."""
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    rows = [(float(row["Model Size"]), float(row["Training FLOP"]), float(row["loss"])) for row in table]
    rows.sort(key=lambda row: row[1] / row[0] ** 2)
    params, flops, loss = np.array(rows[LEFT_OUT:]).T
    return params, flops / (6 * params), loss


def objective(
    theta: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, log_loss: np.ndarray
) -> tuple[float, np.ndarray]:
    """Sum of Huber losses and its gradient in theta = (log A, log B, log E, alpha, beta)."""
    log_a, log_b, log_e, alpha, beta = theta
    terms = np.stack([log_a - alpha * log_n, log_b - beta * log_d, np.full_like(log_n, log_e)])
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    residual = top + np.log(total) - log_loss
    shares /= total
    inside = np.abs(residual) <= DELTA
    value = np.where(inside, residual**2 / 2, DELTA * (np.abs(residual) - DELTA / 2)).sum()
    slope = np.clip(residual, -DELTA, DELTA) * shares
    gradient = np.array(
        [slope[0].sum(), slope[1].sum(), slope[2].sum(), -(slope[0] * log_n).sum(), -(slope[1] * log_d).sum()]
    )
    # Scaled by 1 / delta**2: the tolerance of the optimizer, not of the model, stopped the original fit too early.
    return float(value / DELTA**2), gradient / DELTA**2


def fit(params: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> tuple[ParametricLoss, float, int]:
    """The best of all starts, its objective (sum of Huber losses) and the number of starts."""
    logs = np.log(params), np.log(tokens), np.log(loss)
    starts = list(itertools.product(STARTS["log_a"], STARTS["log_b"], STARTS["log_e"], *[STARTS["exponent"]] * 2))
    ends = [minimize(objective, np.array(start, float), args=logs, jac=True, method="BFGS") for start in starts]
    best = min(ends, key=lambda end: end.fun)
    log_a, log_b, log_e, alpha, beta = best.x
    law = ParametricLoss(float(np.exp(log_e)), float(np.exp(log_a)), float(np.exp(log_b)), float(alpha), float(beta))
    return law, float(best.fun) * DELTA**2, len(starts)


def main(folder: Path) -> None:
    """Print the fit beside the published ones and write benchmarks/results/chinchilla_refit.json."""
    params, tokens, loss = read_points(folder / "chinchilla_points.csv")
    law, value, starts = fit(params, tokens, loss)
    logs = np.log(params), np.log(tokens), np.log(loss)
    print(f"{len(loss)} runs, best of {starts} starts, sum of Huber losses {value:.6f}")
    rows = []
    for name, stated in STATED_ERRORS.items():
        ours, theirs = getattr(law, name), getattr(BESIROGLU, name)
        away = abs(ours - theirs) / stated
        print(f"{name:6} {ours:10.4f}   replication {theirs:10.4f} +- {stated:<8}  {away:.2f} stated errors away")
        row = {"constant": name, "ours": ours, "replication": theirs, "stated_error": stated, "errors_away": away}
        rows.append(row)
    for label, other in (("replication's constants", BESIROGLU), ("Hoffmann et al.'s constants", HOFFMANN)):
        theta = np.array([np.log(other.A), np.log(other.B), np.log(other.E), other.alpha, other.beta])
        rows.append({"constant": f"objective at the {label}", "ours": objective(theta, *logs)[0] * DELTA**2})
        print(f"sum of Huber losses at the {label}: {rows[-1]['ours']:.6f}")
    worst = max(row["errors_away"] for row in rows if row["constant"] in ("E", "alpha", "beta"))
    result = headline("largest distance of E, alpha or beta from the replication, in its stated errors", worst, 1.0,
                      "one stated error", lower_is_better=True)  # fmt: skip
    command = "python benchmarks/chinchilla_refit.py SCALING_DIR"
    write_result("chinchilla_refit", command, rows, result, packages=["numpy", "scipy"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
