"""The verdict on a variant that is to take its parent's traffic: promote, roll back, or inconclusive.

Every metric but cost is the mean of a bounded outcome. The bounds of `betting` compare it with a limit in both
directions. Outcomes, and the limits of their means:

- quality, at least -delta: the variant's correctness minus its parent's on the same labelled request, in [-1, 1].
- agreement, at least -delta: how far the variant agrees with a parent's answer, minus how far the parent itself does
  when it is asked again, in [-1, 1].
- floor, at least 0: the variant's correctness (or agreement) minus `floor` times its parent's, in [-1, 1].
- latency, at least `share`: the share of a second's requests within the objective, in [0, 1].
- errors, at most `errors`: 1 for a request that failed, 0 for any other.
- feedback, at least `feedback`: the score that a client gave to an answer of the variant, in [0, 1].
- cost: has no outcome. The variant's card must show a lower cost than its parent's.

A variant is promoted when every metric is proven to hold. It is rolled back when one is proven broken. Each bound uses
the gate's alpha divided by the number of its metrics with outcomes (a union bound). So, over all looks, a variant that
is worse than allowed is promoted with probability at most alpha. A variant that keeps every limit is rolled back with
probability at most alpha. Both statements are about the mean over the requests that came while these variants served.
A metric without outcomes never passes.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from math import log
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document
from variants.evidence.betting import (
    Tally,
    evidence_above,
    evidence_below,
    is_above,
    is_below,
    lower_bound,
    upper_bound,
)
from variants.evidence.sample_ratio import SampleRatio

Metric = Literal["quality", "agreement", "floor", "latency", "errors", "feedback"]
Decision = Literal["promote", "roll back", "inconclusive"]
State = Literal["holds", "broken", "open"]
RANGES: dict[Metric, tuple[float, float]] = {
    "quality": (-1.0, 1.0),
    "agreement": (-1.0, 1.0),
    "floor": (-1.0, 1.0),
    "latency": (0.0, 1.0),
    "errors": (0.0, 1.0),
    "feedback": (0.0, 1.0),
}
PAIRED = ("quality", "agreement", "floor")
DROPPED_SHARE = 0.10
"""No verdict on pairs when more of the chosen ones gave no outcome: the rest may not represent the requests."""
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Delta = Annotated[float, Field(strict=True, ge=0, lt=1)]


class LatencyObjective(Document):
    """At least `share` of requests take at most `objective_s` seconds."""

    objective_s: Annotated[float, Field(strict=True, gt=0, le=3600)]
    share: Share


class Gate(Document):
    """What must be proven before a variant gets more traffic.

    `quality` and `agreement` are deltas: the largest mean loss that is allowed. `floor` is the share of the parent's
    quality that must remain. `errors` is the largest share of failed requests, `feedback` the lowest mean score.
    """

    quality: Delta | None = 0.02
    agreement: Delta | None = None
    floor: Share | None = None
    latency: LatencyObjective | None = None
    errors: Share | None = None
    feedback: Share | None = None
    cost: Literal["lower"] | None = None
    alpha: Share = 0.05

    @model_validator(mode="after")
    def check_pairs(self) -> Self:
        if not {"quality", "agreement", "floor", "feedback"} & set(self.metrics):
            raise ValueError(
                "quality, agreement, floor and feedback are all left out: a variant is judged by at least one"
            )
        return self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of this gate that have outcomes."""
        return tuple(metric for metric in RANGES if getattr(self, metric) is not None)

    @property
    def alpha_each(self) -> float:
        return self.alpha / len(self.metrics)

    def limit(self, metric: Metric) -> float:
        """The limit for the mean of a metric of this gate."""
        if metric == "floor":
            return 0.0
        if metric == "latency":
            assert self.latency is not None
            return self.latency.share
        limit: float = getattr(self, metric)
        return -limit if metric in ("quality", "agreement") else limit


@dataclass
class Evidence:
    """All outcomes of one variant and its parent, for one pair of artifacts.

    `chosen` counts shadow pairs, `dropped` those dropped for lack of time, `unjudged` those that could not be compared.
    `lengths_differ` says whether these two differ in prompt length from the kept ones. `costs` are the variant's and
    its parent's, in engine seconds per 1,000 requests.
    """

    tallies: dict[Metric, Tally] = field(default_factory=lambda: {name: Tally(*ends) for name, ends in RANGES.items()})
    assignments: SampleRatio = field(default_factory=SampleRatio)
    chosen: int = 0
    dropped: int = 0
    unjudged: int = 0
    lengths_differ: bool = False
    costs: tuple[float, float] | None = None


@dataclass(frozen=True)
class Finding:
    """One metric's mean and bounds, compared with its limit. `value` is None without outcomes."""

    metric: Metric
    n: int
    value: float | None
    low: float
    high: float
    limit: float
    state: State


@dataclass(frozen=True)
class Verdict:
    """A decision with its evidence.

    `different`: the interval of the paired difference excludes 0. `missing`: what still prevents a decision.
    """

    decision: Decision
    findings: tuple[Finding, ...]
    different: bool
    missing: tuple[str, ...]


def judge(gate: Gate, evidence: Evidence, leave_out: Collection[Metric] = ()) -> Verdict:
    """The verdict on all outcomes so far. It is valid after every outcome. `leave_out` holds metrics that cannot be
    known yet: the others keep their part of alpha."""
    metrics = [metric for metric in gate.metrics if metric not in leave_out]
    findings = tuple(find(gate, metric, evidence.tallies[metric]) for metric in metrics)
    paired = evidence.tallies["agreement" if gate.quality is None and gate.agreement is not None else "quality"]
    different = differs(gate, paired)
    missing = tuple(objections(evidence))
    if not evidence.assignments.is_broken():
        broken = [finding for finding in findings if finding.state == "broken"]
        if any(finding.metric not in PAIRED or not missing for finding in broken):
            return Verdict("roll back", findings, different, missing)
        missing += () if findings else ("none of the gate's metrics can be known yet",)
        missing += tuple(lacking(gate, evidence.tallies[f.metric], f) for f in findings if f.state == "open")
        missing += tuple(cost_missing(gate, evidence.costs))
        if not missing:
            return Verdict("promote", findings, different, ())
    return Verdict("inconclusive", findings, different, missing)


def find(gate: Gate, metric: Metric, tally: Tally) -> Finding:
    """Compare one metric with its limit, in both directions."""
    alpha, limit = gate.alpha_each, gate.limit(metric)
    above, below = is_above(tally, limit, alpha), is_below(tally, limit, alpha)
    good, bad = (below, above) if metric == "errors" else (above, below)
    return Finding(
        metric,
        tally.n,
        tally.mean if tally.n else None,
        lower_bound(tally, alpha),
        upper_bound(tally, alpha),
        limit,
        "holds" if good else "broken" if bad else "open",
    )


def differs(gate: Gate, paired: Tally) -> bool:
    """Whether the interval of the paired difference excludes 0. It is wrong with probability at most the alpha of one
    metric."""
    return is_above(paired, 0.0, gate.alpha_each / 2) or is_below(paired, 0.0, gate.alpha_each / 2)


def objections(evidence: Evidence) -> list[str]:
    """The reasons why these outcomes allow no verdict."""
    reasons = []
    if evidence.assignments.is_broken():
        seen, due = evidence.assignments.seen, evidence.assignments.due
        shares = ", ".join(f"{name} {seen[name]} of {due.get(name, 0):.0f} due" for name in sorted(seen))
        reasons.append(f"assignments do not follow the weights: {shares}")
    if evidence.chosen and evidence.dropped + evidence.unjudged > DROPPED_SHARE * evidence.chosen:
        reasons.append(
            f"of {evidence.chosen} shadow pairs {evidence.dropped} were dropped and {evidence.unjudged} could not be "
            "compared: together at most 10 % may be"
        )
    if evidence.lengths_differ:
        reasons.append("the shadow pairs that came to nothing differ in prompt length from those kept")
    return reasons


def lacking(gate: Gate, tally: Tally, finding: Finding) -> str:
    """What is still missing for an open metric, as one sentence."""
    if not finding.n:
        return f"{finding.metric}: no outcome yet"
    side = "at most" if finding.metric == "errors" else "at least"
    at = f"{finding.metric}: {finding.value:.4f} ({finding.low:.4f} to {finding.high:.4f}, n {finding.n}), "
    more = outcomes_to_go(gate, tally, finding)
    if more is None:
        return at + f"not yet shown to be {side} {finding.limit:g}, nor to break it"
    return at + f"about {more} more like these would show whether it is {side} {finding.limit:g}"


def outcomes_to_go(gate: Gate, tally: Tally, finding: Finding) -> int | None:
    """How many more outcomes like those so far would decide an open metric; None where 100 times as many would not."""
    assert finding.value is not None
    against = evidence_above if finding.value > finding.limit else evidence_below
    needed = log(1 / gate.alpha_each)
    low, high = 1.0, 100.0

    def decided(times: float) -> bool:
        scaled = {value: round(count * times) for value, count in tally.counts.items()}
        return against(Tally(tally.low, tally.high, scaled), finding.limit) >= needed

    if not decided(high):
        return None
    while high - low > 0.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return max(1, round(finding.n * (high - 1)))


def cost_missing(gate: Gate, costs: tuple[float, float] | None) -> list[str]:
    """Why the variant does not pass the cost metric; empty where it does or the gate has none."""
    if gate.cost is None:
        return []
    if costs is None:
        return ["cost: no card of the variant and its parent on this hardware: run `understudy evaluate`"]
    if costs[0] >= costs[1]:
        return [f"cost: {costs[0]:.3g} is not lower than the parent's {costs[1]:.3g} engine seconds per 1,000 requests"]
    return []
