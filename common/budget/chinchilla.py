"""Compute-optimal parameters and tokens for a pre-training budget, by every published estimate.

Hoffmann et al. 2022 (arXiv 2203.15556) estimate the optimum in three ways; Besiroglu et al. 2024 (arXiv 2404.10102)
fit the third one anew. FLOPs follow their convention C = 6 N D: six for each parameter and token, attention not
counted. Knows nothing of fine-tuning, hardware or files; standard library only, so that the command starts fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.errors import UsageError

Approach = Literal["1", "2", "3", "3-replication"]

# Results outside are refused: no estimate can speak of them.
REALISTIC = (1.0, 1e25)

# The runs behind all estimates used 6e18 to 3e21 FLOPs (Hoffmann et al. 2022, section 3.2).
FITTED_FLOPS = (6e18, 3e21)


@dataclass(frozen=True)
class Frontier:
    """The compute-optimal model size as a power law: N = scale * (C / 6) ** exponent."""

    scale: float
    exponent: float

    def params(self, flops: float) -> float:
        """Optimal parameters for a budget in FLOPs."""
        return self.scale * (flops / 6) ** self.exponent

    def flops_for_params(self, params: float) -> float:
        """The budget in FLOPs at which a model of `params` parameters is optimal."""
        return 6 * (params / self.scale) ** (1 / self.exponent)

    def flops_for_tokens(self, tokens: float) -> float:
        """The budget in FLOPs at which training on `tokens` tokens is optimal (D = C / 6N)."""
        return 6 * (tokens * self.scale) ** (1 / (1 - self.exponent))


@dataclass(frozen=True)
class ParametricLoss:
    """L(N, D) = E + A / N**alpha + B / D**beta in nats per token (Hoffmann et al. 2022, equation 2)."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, params: float, tokens: float) -> float:
        """Predicted pre-training loss of a model of `params` parameters after `tokens` tokens."""
        return self.E + self.A * params**-self.alpha + self.B * tokens**-self.beta

    def frontier(self) -> Frontier:
        """Where the loss is least for a given C = 6 N D, in closed form (equation 4 of the paper)."""
        total = self.alpha + self.beta
        return Frontier((self.alpha * self.A / (self.beta * self.B)) ** (1 / total), self.beta / total)

    def flops_for_loss(self, loss: float) -> float:
        """The least compute that reaches `loss`; infinite where `loss` is not above E."""
        if loss <= self.E:
            return math.inf
        # On the frontier the excess over E falls as C ** -gamma.
        gamma = self.alpha * self.beta / (self.alpha + self.beta)
        at_one = self.frontier()
        excess_at_six = self.A * at_one.scale**-self.alpha + self.B * at_one.scale**self.beta
        return 6 * (excess_at_six / (loss - self.E)) ** (1 / gamma)


# Constants of the paper's TeX source; the body prints them rounded, which moves the optimum by up to 18 %.
HOFFMANN = ParametricLoss(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)
# Table 1 of Besiroglu et al. 2024.
BESIROGLU = ParametricLoss(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)

LOSSES: dict[Approach, ParametricLoss] = {"3": HOFFMANN, "3-replication": BESIROGLU}

# Approaches 1 and 2 are least-squares lines through the logarithms of the paper's own rows (Table 3 and Table A3),
# made by benchmarks/chinchilla_tables.py; their exponents round to the paper's 0.50 and 0.49 (Table 2).
FRONTIERS: dict[Approach, Frontier] = {
    "1": Frontier(0.242063, 0.498099),
    "2": Frontier(0.348537, 0.489942),
    "3": HOFFMANN.frontier(),
    "3-replication": BESIROGLU.frontier(),
}

DESCRIPTIONS: dict[Approach, str] = {
    "1": "least loss over training curves",
    "2": "least loss at equal FLOPs",
    "3": "parametric loss",
    "3-replication": "parametric loss, fitted anew",
}


@dataclass(frozen=True)
class Estimate:
    """One approach's optimum. `loss` in nats per token, None where the approach predicts none."""

    approach: Approach
    flops: float
    params: float
    tokens: float
    loss: float | None

    @property
    def tokens_per_param(self) -> float:
        return self.tokens / self.params


@dataclass(frozen=True)
class Comparison:
    """How a given model and token count stands against one approach's optimum at the same FLOPs.

    params_ratio         its parameters over the optimal ones (above 1: too large for its tokens)
    loss, optimal_loss   predicted, nats per token; None where the approach predicts none
    flops_for_same_loss  what a compute-optimal model would need to reach `loss`
    """

    approach: Approach
    params_ratio: float
    loss: float | None
    optimal_loss: float | None
    flops_for_same_loss: float | None


@dataclass(frozen=True)
class GivenModel:
    """A model that the user describes by two of FLOPs, parameters and tokens."""

    params: float
    tokens: float

    @property
    def flops(self) -> float:
        return 6 * self.params * self.tokens

    @property
    def tokens_per_param(self) -> float:
        return self.tokens / self.params


def given_model(flops: float | None, params: float | None, tokens: float | None) -> GivenModel | None:
    """The model that two of the three amounts describe by C = 6 N D; None where only one is given.

    Raises UsageError when none or all three are given, or when the third amount is below 1 or beyond 1e25.
    """
    given = [value for value in (flops, params, tokens) if value is not None]
    if len(given) == 1:
        return None
    if len(given) != 2:
        raise UsageError(
            f"{len(given)} of --flops, --params and --tokens were given; give one for the optimum, "
            "or two to compare a model with it"
        )
    if flops is not None and params is not None:
        tokens = flops / 6 / params
    elif flops is not None and tokens is not None:
        params = flops / 6 / tokens
    assert params is not None
    assert tokens is not None
    model = GivenModel(params, tokens)
    if not all(REALISTIC[0] <= value <= REALISTIC[1] for value in (model.params, model.tokens)):
        raise UsageError(
            f"the two amounts mean {model.params:.1e} parameters and {model.tokens:.1e} tokens; "
            "each must be from 1 to 1e25"
        )
    return model


def estimate(approach: Approach, flops: float) -> Estimate:
    """One approach's optimum for a budget in FLOPs."""
    params = FRONTIERS[approach].params(flops)
    tokens = flops / 6 / params
    loss = LOSSES[approach].loss(params, tokens) if approach in LOSSES else None
    return Estimate(approach, flops, params, tokens, loss)


def estimates(flops: float | None = None, params: float | None = None, tokens: float | None = None) -> list[Estimate]:
    """Every approach's optimum for exactly one of: a budget, a model size, or a number of tokens.

    Given a size or tokens, each estimate has the FLOPs at which these are optimal. Raises UsageError where
    parameters or tokens come out below 1 or beyond 1e25.
    """
    found = []
    for approach, frontier in FRONTIERS.items():
        try:
            if flops is not None:
                budget = flops
            elif params is not None:
                budget = frontier.flops_for_params(params)
            else:
                assert tokens is not None
                budget = frontier.flops_for_tokens(tokens)
            one = estimate(approach, budget)
        except OverflowError:
            one = Estimate(approach, math.inf, math.inf, math.inf, None)
        if not all(REALISTIC[0] <= value <= REALISTIC[1] for value in (one.params, one.tokens)):
            raise UsageError(
                f"approach {approach} would give {one.params:.1e} parameters and {one.tokens:.1e} tokens, "
                "which no estimate can speak of; budgets from 1e3 to 1e45 FLOPs are answered"
            )
        found.append(one)
    return found


def compare(model: GivenModel) -> list[Comparison]:
    """The given model against each approach's optimum at the model's own FLOPs."""
    rows = []
    for best in estimates(flops=model.flops):
        law = LOSSES.get(best.approach)
        loss = law.loss(model.params, model.tokens) if law else None
        rows.append(
            Comparison(
                approach=best.approach,
                params_ratio=model.params / best.params,
                loss=loss,
                optimal_loss=best.loss,
                flops_for_same_loss=law.flops_for_loss(loss) if law and loss is not None else None,
            )
        )
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Least, largest, and how many times the least the largest is."""
    return {"low": min(values), "high": max(values), "ratio": max(values) / min(values)}


def outside_fitted_range(flops: float) -> bool:
    """Whether the budget lies outside the runs on which the estimates rest."""
    return not FITTED_FLOPS[0] <= flops <= FITTED_FLOPS[1]
