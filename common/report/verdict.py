"""Did it get better? The answer in plain sentences, from the intervals in results.json and what the run shows.

A difference counts only where its 95 % interval leaves zero out and its p value is at most 0.05. Knows nothing of how
these are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.metrics.bootstrap import Outcome, outcome
from common.report.support import Support, read_support
from common.run.contents import RunFiles
from common.text.amounts import Interval, decimal, finite, mapping, read_interval, share, signed
from common.text.names import metric_label, system_label

Tone = Literal["good", "mixed", "bad", "none"]

COPYING = ("lead1", "lead3")  # what anybody gets by copying the first sentences
REFERENCE_POINTS = ("base", "lead3", "lead1", "random", "oracle")
FEW_EXAMPLES = 50
LEAST_TESTED = 6  # of fewer documents no difference can reach p = 0.05 when signs are flipped: 2 of 2**5 are 6 %
FACTS = ("detectable", "p_value", "examples")  # of a difference in results.json
LEAST_SHOWN = 0.05  # points; a smaller figure is one that rounds to 0.0
CUT_OFF_SHARE = 0.05  # more summaries than this stopped by the token limit are worth a warning
RUNAWAY_SHARE = 0.5  # a baseline that mostly runs into the limit loses part of its score to length alone


@dataclass(frozen=True)
class Comparison:
    """The system under test minus another one on the same documents, in points of `metric`.

    p_value      of approximate randomisation, None where not known
    detectable   the smallest true difference these documents would show in most cases, None where not known
    examples     documents compared, None where not known; below LEAST_TESTED nothing is tested
    """

    other: str
    metric: str
    difference: Interval
    detectable: float | None = None
    p_value: float | None = None
    examples: float | None = None

    @property
    def untested(self) -> bool:
        """Whether there are too few documents for a test."""
        return self.examples is not None and self.examples < LEAST_TESTED

    @property
    def outcome(self) -> Outcome:
        low, high = self.difference.low, self.difference.high
        return "unclear" if low is None or high is None or self.untested else outcome(low, high, self.p_value)

    @property
    def sentence(self) -> str:
        name, metric = _than(self.other), metric_label(self.metric)
        size, bounds = decimal(abs(self.difference.mean)), self.difference.bounds
        if self.outcome == "better":
            return f"better than {name} by {size} {metric} {bounds}"
        if self.outcome == "worse":
            turned = Interval(-self.difference.mean, -(self.difference.high or 0.0), -(self.difference.low or 0.0))
            return f"worse than {name} by {size} {metric} {turned.bounds}"
        if not bounds:
            return f"{signed(self.difference.mean)} {metric} against {name}, without an interval"
        chance = f", p = {self.p_value:.2f}: could be chance" if self._leaves_zero_out else ""
        if self.untested:
            chance = ", too few documents for a test"
        return f"not distinguishable from {name} ({signed(self.difference.mean)} {metric} {bounds}{chance})"

    @property
    def _leaves_zero_out(self) -> bool:
        return (self.difference.low or 0.0) * (self.difference.high or 0.0) > 0


@dataclass(frozen=True)
class Verdict:
    """A headline, one sentence with every comparison, and what else a reader has to know before believing it.

    support   how many summaries their documents support, or why nobody knows; empty where they were not checked
    """

    tone: Tone
    headline: str
    sentence: str
    warnings: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    support: str = ""

    @property
    def mark(self) -> str:
        """A sign for the tone, so that it does not rest on colour alone."""
        return {"good": "▲", "mixed": "◆", "bad": "▼", "none": "○"}[self.tone]

    @property
    def detectable(self) -> str:
        """What size of difference this test set shows at all; empty where not known."""
        found = next((item for item in self.comparisons if item.detectable is not None), None)
        if found is None or found.detectable is None or found.detectable < LEAST_SHOWN or found.untested:
            return ""
        return (
            f"These documents can show a gain over {_than(found.other)} of {decimal(found.detectable)} "
            f"{metric_label(found.metric)} or more; a smaller one would often be missed."
        )


def judge(run: RunFiles) -> Verdict:
    """The verdict on a run, evaluated or not."""
    comparisons = tuple(read_comparisons(run.results, run.main_system))
    warnings = (*evaluation_warnings(run), *training_warnings(run))
    if not mapping(run.results.get("systems")):
        return Verdict("none", "Not evaluated yet", _unevaluated(run), warnings, ())
    tone, headline = _headline(comparisons) if run.main_system == "tuned" else ("none", "The untuned model's scores")
    support = read_support(run.results, run.main_system)
    tone, headline = _with_support(tone, headline, support)
    spoken = [item.sentence for item in comparisons if item.other != "oracle"]
    sentence = "; ".join(spoken)
    sentence = sentence[:1].upper() + sentence[1:] + "." * bool(sentence)
    return Verdict(tone, headline, sentence, warnings, comparisons, support.sentence)


def read_comparisons(results: Mapping[str, Any], system: str = "tuned", metric: str = "rouge1") -> list[Comparison]:
    """Every difference of `system` in results.json, the untuned model first, earlier runs last."""
    found = []
    for name, measures in mapping(results.get("differences")).items():
        first, _, other = name.partition("-")
        value = mapping(measures).get(metric)
        difference = read_interval(value)
        if first == system and other and difference is not None:
            known = mapping(value)
            found.append(Comparison(other, metric, difference, *(finite(known.get(fact)) for fact in FACTS)))
    order = {name: place for place, name in enumerate(REFERENCE_POINTS)}
    return sorted(found, key=lambda item: order.get(item.other, len(order)))


def _than(system: str) -> str:
    return {"base": "the untuned model", "random": "a random sentence", "oracle": "the extractive oracle"}.get(
        system, system_label(system)
    )


def _headline(comparisons: Sequence[Comparison]) -> tuple[Tone, str]:
    outcome = {item.other: item.outcome for item in comparisons}
    copying = [outcome[name] for name in COPYING if name in outcome]
    beats_copying = bool(copying) and all(value == "better" for value in copying)
    names = " and ".join(system_label(name) for name in COPYING if name in outcome)
    missed = " and ".join(system_label(name) for name in COPYING if outcome.get(name, "better") != "better")
    score = metric_label(comparisons[0].metric) if comparisons else ""
    base = outcome.get("base")
    if base is None:
        if not copying:
            return "none", "Scored, but compared with nothing"
        if beats_copying:
            return "good", f"Higher {score} than {names}"
        return "mixed", f"No higher {score} than {missed}"
    if base == "worse":
        return "bad", f"Lower {score} than the untuned model"
    if base == "unclear":
        return "none", "Cannot tell whether fine-tuning helped"
    if beats_copying:
        return "good", f"Higher {score} than the untuned model, {names}"
    if not copying:
        return "good", f"Higher {score} than the untuned model"
    return "mixed", f"Higher {score} than the untuned model, but not than {missed}"


def _with_support(tone: Tone, headline: str, support: Support) -> tuple[Tone, str]:
    """Higher scores alone are no success: the summaries have to be supported too, by a checker that tells."""
    share = f"{decimal(support.share.mean, 0)} %" if support.share else ""
    if tone == "good" and support.holds:
        return tone, f"{headline}, and {share} of the summaries are supported by their documents"
    if tone not in ("good", "mixed"):
        return tone, headline
    if not support.tells:
        return "mixed", f"{headline}. Whether the summaries are true is not known"
    if support.worse:
        return "bad", f"{headline}, but fewer summaries are supported by their documents ({share})"
    if not support.holds:
        return "mixed", f"{headline}, but only {share} of the summaries are supported by their documents"
    return tone, headline


def _unevaluated(run: RunFiles) -> str:
    if not run.metrics:
        return "There is no training log and no evaluation in this folder yet."
    last = run.metrics[-1]
    planned = finite(run.setting("training.steps")) or finite(run.environment.get("total_steps"))
    steps = f"{int(last['step'])} of {int(planned)}" if planned else f"{int(last['step'])}"
    loss = finite(last.get("loss"))
    reached = f", the loss of the last one was {decimal(loss, 2)}" if loss is not None else ""
    return f"{steps} training steps are logged{reached}. The loss alone does not say whether summaries got better."


def evaluation_warnings(run: RunFiles) -> list[str]:
    """What weakens the scores: cut-off, failed and empty generations, few examples, runaway baselines."""
    warnings = []
    stops = mapping(run.results.get("stop_reasons"))
    counts = {name: {key: finite(value) or 0 for key, value in mapping(stops[name]).items()} for name in stops}
    tuned, base = counts.get("tuned", {}), counts.get("base", {})
    total, cut = sum(tuned.values()), tuned.get("length", 0)
    if total and cut / total > CUT_OFF_SHARE:
        warnings.append(
            f"{cut:.0f} of {total:.0f} summaries ({share(cut, total)}) were cut off at the token limit instead of "
            "reaching their end."
        )
    if failed := tuned.get("error", 0):
        warnings.append(f"{failed:.0f} of {total:.0f} generations failed; they count as zero.")
    empty = sum(1 for row in run.predictions if not row.prediction.strip() and row.stop_reason != "error")
    if empty:
        warnings.append(f"{empty} of {len(run.predictions)} summaries are empty; they count as zero.")
    warnings += overlap_warnings(run)
    base_total, base_cut = sum(base.values()), base.get("length", 0)
    if base_total and base_cut / base_total >= RUNAWAY_SHARE and cut / max(total, 1) < RUNAWAY_SHARE:
        warnings.append(
            f"The untuned model ran into the token limit in {share(base_cut, base_total)} of its summaries: part of "
            "the gain over it is having learned to stop."
        )
    examples = finite(run.results.get("examples")) or 0
    if 0 < examples < FEW_EXAMPLES:
        warnings.append(f"Only {examples:.0f} test examples: the intervals are wide, and small gains cannot show.")
    return warnings


def overlap_warnings(run: RunFiles) -> list[str]:
    """Scored documents that the model was trained on, and what its score is without them."""
    overlap = mapping(run.results.get("overlap"))
    total, seen = finite(run.results.get("examples")) or 0, finite(overlap.get("trained_on")) or 0
    if not seen:
        return []
    said = f"{seen:.0f} of {total:.0f} scored documents stand in the training data, exactly or nearly"
    without = read_interval(mapping(mapping(overlap.get("without_them")).get(run.main_system)).get("rouge1"))
    given = read_interval(mapping(mapping(run.results.get("systems")).get(run.main_system)).get("rouge1"))
    if without is None or given is None:
        return [f"{said}: these scores say nothing about new documents."]
    honest = read_comparisons({"differences": overlap.get("differences_without_them")}, run.main_system)
    spoken = "; ".join(item.sentence for item in honest if item.other != "oracle")
    return [
        f"{said}: ROUGE-1 without them is {without}, with them {given}. The scores without them are the honest ones"
        + (f": {spoken}." if spoken else ".")
    ]


def training_warnings(run: RunFiles) -> list[str]:
    """Training that did not end, a dev loss that rose again, losses that stopped being numbers."""
    metrics = run.metrics
    warnings = []
    if metrics and run.config and not run.state:
        warnings.append(
            f"Training has not finished; its log ends at step {metrics[-1]['step']:,.0f}. `sumkit train --resume` with "
            "the same --run continues it."
        )
    dev = [(row["step"], loss) for row in metrics if (loss := finite(row.get("dev_loss"))) is not None]
    if len(dev) > 2:
        best_step, best = min(dev, key=lambda pair: pair[1])
        if dev[-1][1] > best * 1.02:
            warnings.append(
                f"The dev loss was lowest at step {best_step:,} ({decimal(best, 3)}) and rose to "
                f"{decimal(dev[-1][1], 3)} by step {dev[-1][0]:,}: the later steps overfit{_kept(run, best_step)}."
            )
    skipped = int(finite(metrics[-1].get("skipped_steps")) or 0) if metrics else 0
    if skipped > max(5, 0.02 * len(metrics)):
        warnings.append(f"{skipped} steps were skipped by the float16 gradient scaler; --dtype float32 avoids that.")
    broken = [row["step"] for row in metrics if isinstance(row.get("loss"), float) and not math.isfinite(row["loss"])]
    if broken:
        warnings.append(f"The training loss was not a finite number in {len(broken)} steps, first at {broken[0]:,}.")
    return warnings


def _kept(run: RunFiles, best_step: float) -> str:
    """Says so where the adapter of the best step is the one that was kept."""
    return " (the adapter of the best step is the one kept)" if run.state.get("best_step") == best_step else ""
