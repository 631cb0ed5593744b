"""What evidence says about a variant that wants its parent's traffic: promote, roll back, or inconclusive.

Every metric but cost is the mean of a bounded outcome, held against a limit by the bounds of `betting`, each way:

    quality   d, variant's correctness minus its parent's on the same labelled request, in [-1, 1]  mean at least -delta
    agreement how much of a parent's answer the variant agrees with, minus how much the parent itself does, asked again
                                                                            mean at least -delta
    floor     the variant's correctness (or agreement) minus `floor` times its parent's       mean at least 0
    latency   share of a second's requests within the objective, in [0, 1]  mean at least `share`
    errors    1 for a request that failed, 0 for one that did not           mean at most `limit`
    feedback  the score that a client gave for an answer of the variant's, in [0, 1]          mean at least `feedback`
    cost      no outcome: the variant's card against its parent's           lower

Promoting needs every metric proven to hold; rolling back needs one proven broken. Each bound is taken at the gate's
alpha divided by its number of metrics with outcomes (a union bound), so over all looks a variant that is worse than
allowed is promoted with probability at most alpha, and one that keeps every limit is rolled back with probability at
most alpha. That says nothing of a limit kept exactly by chance of traffic: the null is about the mean of the requests
that came, while these variants served. No data is never a pass.
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
"""No verdict on pairs when more of those chosen came to nothing: what is left may not be like what came."""
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Delta = Annotated[float, Field(strict=True, ge=0, lt=1)]


class LatencyObjective(Document):
    """At least `share` of requests take at most `objective_s` seconds."""

    objective_s: Annotated[float, Field(strict=True, gt=0, le=3600)]
    share: Share


class Gate(Document):
    """What must be proven before a step is taken. `quality` and `agreement` are deltas: how much may be lost on
    average; `floor` is the share of its parent's quality that must be kept; `errors` is the largest share that may
    fail, `feedback` the least mean score."""

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
        """Those with outcomes."""
        return tuple(metric for metric in RANGES if getattr(self, metric) is not None)

    @property
    def alpha_each(self) -> float:
        return self.alpha / len(self.metrics)

    def limit(self, metric: Metric) -> float:
        """The mean that is still allowed."""
        if metric == "quality":
            assert self.quality is not None
            return -self.quality
        if metric == "agreement":
            assert self.agreement is not None
            return -self.agreement
        if metric == "floor":
            return 0.0
        if metric == "latency":
            assert self.latency is not None
            return self.latency.share
        if metric == "feedback":
            assert self.feedback is not None
            return self.feedback
        assert self.errors is not None
        return self.errors


@dataclass
class Evidence:
    """All that one variant's outcomes have said, for one pair of artifacts.

    `chosen` counts shadow pairs, `dropped` those that there was no time for, `unjudged` those of which nothing could be
    said; `lengths_differ` says whether these two are of other lengths than those kept. `costs` are the variant's and
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
    """What is known of one metric: its mean and bounds against the limit."""

    metric: Metric
    n: int
    value: float | None
    low: float
    high: float
    limit: float
    state: State


@dataclass(frozen=True)
class Verdict:
    """A decision, always with its evidence. `different`: the interval of d excludes 0. `missing`: what it waits for."""

    decision: Decision
    findings: tuple[Finding, ...]
    different: bool
    missing: tuple[str, ...]


def judge(gate: Gate, evidence: Evidence, leave_out: Collection[Metric] = ()) -> Verdict:
    """The verdict on all that has been seen so far; as valid after every outcome as after the last. `leave_out` are
    metrics that cannot be known yet: the others keep their part of alpha."""
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
    """Hold one metric against its limit, both ways."""
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
    """Whether the interval of d excludes 0; wrong with probability at most the alpha of one metric, both sides
    together."""
    return is_above(paired, 0.0, gate.alpha_each / 2) or is_below(paired, 0.0, gate.alpha_each / 2)


def objections(evidence: Evidence) -> list[str]:
    """Why these outcomes cannot be judged at all."""
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
    """What an open metric still needs."""
    if not finding.n:
        return f"{finding.metric}: no outcome yet"
    side = "at most" if finding.metric == "errors" else "at least"
    at = f"{finding.metric}: {finding.value:.4f} ({finding.low:.4f} to {finding.high:.4f}, n {finding.n}), "
    more = outcomes_to_go(gate, tally, finding)
    if more is None:
        return at + f"not yet shown to be {side} {finding.limit:g}, nor to break it"
    return at + f"about {more} more like these would show whether it is {side} {finding.limit:g}"


def outcomes_to_go(gate: Gate, tally: Tally, finding: Finding) -> int | None:
    """How many more outcomes decide an open metric if they go on as they went; None where over 100 times as many would
    not."""
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
    """Why a gate on cost is not passed."""
    if gate.cost is None:
        return []
    if costs is None:
        return ["cost: no card of the variant and its parent on this hardware: run `understudy evaluate`"]
    if costs[0] >= costs[1]:
        return [f"cost: {costs[0]:.3g} is not lower than the parent's {costs[1]:.3g} engine seconds per 1,000 requests"]
    return []
