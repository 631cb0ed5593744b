"""The verdict on a variant that is to take its parent's traffic: promote, roll back, or inconclusive.

Every metric but cost is the mean of a bounded outcome. The bounds of `betting` compare it with a limit in both
directions. Outcomes, and the limits of their means:

- quality, at least -delta: the variant's correctness minus its parent's on the same labelled request, in [-1, 1].
- agreement, at least -delta: how far the variant agrees with a parent's answer, minus how far the parent itself does
  when it is asked again, in [-1, 1].
- preference, at least -delta: -1, 0 or 1 for a pair whose parent's answer, neither or the variant's is better. Equal
  answers are 0 without a question. What differs is judged by a label, a person or a judge, and lost until then.
- floor, at least 0: the variant's correctness (or agreement) minus `floor` times its parent's, in [-1, 1].
- latency, at least `share`: the share of requests within the objective, one outcome a block of time, in [0, 1]. It
  holds only while the share of all requests is at least that too: a busy block has more of them.
- errors, at most `errors`: the share of a second's requests that failed, or 1 for a replay that failed, in [0, 1].
- feedback, at least `feedback`: the score that a client gave to an answer of the variant, in [0, 1].
- cost: has no outcome. The variant's card must show a lower cost than its parent's.

A variant is promoted when *every* condition is proven. Each is proven at the whole alpha: if one does not hold, all of
them pass with probability at most alpha (an intersection-union test, R. L. Berger 1982). The conditions are the
metrics, by request and for distinct requests, that labels tell right from wrong (`labels`), and the guard on its own
clients (`guard`). A variant is rolled back when *one* metric is proven broken. So harm divides alpha: `POOLED` of it
among the metrics, the rest among the detectors of harm that begins in the present step (a union bound).

So, over all looks, a variant that is worse than allowed is promoted with probability at most alpha. A variant that
keeps every limit is rolled back with probability at most alpha. A metric without outcomes never passes. Proof of harm
needs no balanced assignments and no complete pairs: what is lost counts as harmless there.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document, absent
from variants.evidence.betting import (
    DEFAULT,
    Bets,
    Tally,
    is_above,
    is_below,
    lower_bound,
    outcomes_to_go,
    upper_bound,
)
from variants.evidence.guard import Arms, Beside, Guard
from variants.evidence.labels import labels_missing
from variants.evidence.paired import Paired
from variants.evidence.sample_ratio import SampleRatio
from variants.evidence.segments import SegmentFinding, judge_segments, segments_missing

Metric = Literal["quality", "agreement", "preference", "floor", "latency", "errors", "feedback"]
Decision = Literal["promote", "roll back", "inconclusive"]
State = Literal["holds", "broken", "open"]
RANGES: dict[Metric, tuple[float, float]] = {
    "quality": (-1.0, 1.0),
    "agreement": (-1.0, 1.0),
    "preference": (-1.0, 1.0),
    "floor": (-1.0, 1.0),
    "latency": (0.0, 1.0),
    "errors": (0.0, 1.0),
    "feedback": (0.0, 1.0),
}
PAIRED: tuple[Metric, ...] = ("quality", "agreement", "floor", "preference")
DIFFERENCES: tuple[Metric, ...] = ("quality", "agreement", "preference")
"""Metrics whose limit is the largest loss that is allowed."""
POOLED = 0.9
"""The part of alpha that harm over all outcomes gets. Harm that begins in the present step gets the rest."""
DETECTORS = 4
"""Detectors of harm in a step: the paired metric, errors of replays, and errors and latency of its own clients."""
CLIENT_SHARE = 0.10
MOST_HALVINGS = 100
"""Below, alpha would become 0 after a thousand rollouts of one name."""
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Delta = Annotated[float, Field(strict=True, ge=0, lt=1)]


class LatencyObjective(Document):
    """At least `share` of requests take at most `objective_s` seconds."""

    objective_s: Annotated[float, Field(strict=True, gt=0, le=3600)]
    share: Share


class Gate(Document):
    """What must be proven before a variant gets more traffic.

    `quality`, `agreement` and `preference` are deltas: the largest mean loss that is allowed. `floor` is the share of
    the parent's quality that must remain. `errors` is the largest share of failed requests, `feedback` the lowest mean
    score. `guard` compares its own clients with its parent's. `segment` is the largest loss in each segment.
    `client_share` is the largest share of the compared requests that one named client may bring. `clients` says whom
    the verdict is about: `these` clients, or all clients of whom these are a `sample`. Then the margin must also be
    proven with one outcome for each named client, its first.
    """

    quality: Delta | None = 0.02
    agreement: Delta | None = None
    preference: Delta | None = Field(default=None, exclude_if=absent)
    floor: Share | None = None
    latency: LatencyObjective | None = None
    errors: Share | None = None
    feedback: Share | None = None
    cost: Literal["lower"] | None = None
    alpha: Share = 0.05
    guard: Guard | None = Guard()
    segment: Delta | None = None
    client_share: Annotated[float, Field(strict=True, ge=0.01, le=1)] = CLIENT_SHARE
    clients: Literal["these", "sample"] = "these"

    @model_validator(mode="after")
    def check_pairs(self) -> Self:
        if not {*PAIRED, "feedback"} & set(self.metrics):
            raise ValueError(
                "quality, agreement, preference, floor and feedback are all left out: "
                "a variant is judged by at least one"
            )
        return self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of this gate that have outcomes."""
        return tuple(metric for metric in RANGES if getattr(self, metric) is not None)

    @property
    def alpha_each(self) -> float:
        """The probability of a wrong proof of harm by one metric, over all outcomes."""
        return POOLED * self.alpha / len(self.metrics)

    def alpha_step(self, phases: int) -> float:
        """The probability of a wrong proof of harm by one detector in one of `phases`: it begins anew with each."""
        return (1 - POOLED) * self.alpha / DETECTORS / phases

    def limit(self, metric: Metric) -> float:
        """The limit for the mean of a metric of this gate."""
        if metric == "floor":
            return 0.0
        if metric == "latency":
            assert self.latency is not None
            return self.latency.share
        limit: float = getattr(self, metric)
        return -limit if metric in DIFFERENCES else limit

    @property
    def margin(self) -> float | None:
        """The largest loss by labels that is allowed, where the parent is always right. None without such a limit."""
        margins = (self.quality, None if self.floor is None else 1 - self.floor)
        return min((each for each in margins if each is not None), default=None)

    def most_loss(self, metric: Metric) -> float | None:
        """The limit for a paired metric's difference that no segment may be proven to break; None without one."""
        if metric == "floor":
            return None if self.floor is None else self.floor - 1
        return None if getattr(self, metric) is None else self.limit(metric)


@dataclass
class Evidence:
    """All outcomes of one variant and its parent, for one pair of artifacts on the same engines.

    - `chosen` counts sampled requests, `skipped` those without time for a comparison, `over_share` those of clients
      that brought more than their share.
    - `arms` are the outcomes of the present step, `beside` those of both arms over all steps.
    - `in_time` counts requests within the objective of latency, and all of them.
    """

    quality: Paired = field(default_factory=Paired)
    agreement: Paired = field(default_factory=Paired)
    preference: Paired = field(default_factory=Paired)
    tallies: dict[Metric, Tally] = field(
        default_factory=lambda: {name: Tally(*RANGES[name]) for name in RANGES if name not in PAIRED}
    )
    assignments: SampleRatio = field(default_factory=SampleRatio)
    chosen: int = 0
    skipped: int = 0
    over_share: int = 0
    in_time: tuple[int, int] = (0, 0)
    arms: Arms | None = None
    beside: Beside = field(default_factory=Beside)

    def paired(self, metric: Metric, floor_by: Metric = "quality") -> Paired:
        """The outcomes of a paired metric; the floor's are those of `floor_by`."""
        paired: Paired = getattr(self, floor_by if metric == "floor" else metric)
        return paired


@dataclass(frozen=True)
class Context:
    """What is known of a rollout besides its outcomes.

    - `floor_by` is the metric whose values the floor compares. `leave_out` has metrics that cannot be known yet: the
      others keep their part of alpha.
    - `serves`: the variant answers clients in this step, the `last` one or not. `alone`: its parent does not.
    - `costs` are the variant's and its parent's, in engine seconds per 1,000 requests.
    - `contrast_on_card` is the parent's contrast on its card, None without one. `bets` and, for a proof of harm,
      `harm_bets` are for the paired metrics.
    - `phases`: how often the detectors of harm begin anew: the steps and the watch.
    - `attempt`: the number of rollouts of this variant's name, this one included. Each has half the alpha of the one
      before to promote, so all together are wrong with probability at most twice alpha.
    """

    floor_by: Literal["quality", "agreement"] = "quality"
    leave_out: tuple[Metric, ...] = ()
    serves: bool = False
    last: bool = False
    alone: bool = False
    costs: tuple[float, float] | None = None
    contrast_on_card: float | None = None
    bets: Bets = DEFAULT
    harm_bets: Bets = DEFAULT
    phases: int = 1
    attempt: int = 1


@dataclass(frozen=True)
class Finding:
    """One metric's mean and bounds, compared with its limit. `value` is None without outcomes.

    Paired metrics: `value` is by request, `distinct` counts each request once, `lost` requests came to nothing. The
    bounds count these at worst. Latency: `value` is by block of time, `distinct` counts each request once. `to_go`:
    about how many more outcomes an open metric needs; None where 100 times as many would not do."""

    metric: Metric
    n: int
    value: float | None
    low: float
    high: float
    limit: float
    state: State
    distinct: float | None = None
    lost: int = 0
    to_go: int | None = None


@dataclass(frozen=True)
class Verdict:
    """A decision with its evidence.

    `different`: the interval of the paired difference excludes 0. `missing`: what still prevents a decision. `waits`:
    the part of it that no more pairs would show, only more time with its own clients. `harm`: what is proven broken.
    `segments`: each with its interval, the worst first."""

    decision: Decision
    findings: tuple[Finding, ...]
    different: bool
    missing: tuple[str, ...]
    harm: tuple[str, ...] = ()
    segments: tuple[SegmentFinding, ...] = ()
    waits: tuple[str, ...] = ()


def judge(gate: Gate, evidence: Evidence, context: Context = Context()) -> Verdict:
    """The verdict on all outcomes so far. It is valid after every outcome."""
    metrics = [metric for metric in gate.metrics if metric not in context.leave_out]
    findings = tuple(find(gate, metric, evidence, context) for metric in metrics)
    main: Metric = next((metric for metric in PAIRED if metric in metrics), "quality")
    paired, alpha = evidence.paired(main, context.floor_by), promotion_alpha(gate, context)
    different = differs(gate, paired.differences())
    segments = judge_segments(paired.segments, min(gate.alpha_each, alpha), gate.most_loss(main))
    harm = (*(f.metric for f in findings if f.state == "broken"), *harm_in_step(gate, evidence, metrics, context))
    missing = (
        *objections(gate, evidence),
        *(lacking(each) for each in findings if each.state == "open"),
        *(() if findings else ("none of the gate's metrics can be known yet",)),
        *cost_missing(gate, context.costs),
        *segments_missing(segments, gate.segment),
    )
    if "quality" in metrics or ("floor" in metrics and context.floor_by == "quality"):
        missing += tuple(labels_missing(evidence.quality, gate.margin, context.contrast_on_card, alpha, context.bets))
    waits = clients_missing(gate, evidence, context, alpha)
    missing += waits
    decision: Decision = "roll back" if harm else "inconclusive" if missing else "promote"
    return Verdict(decision, findings, different, missing, harm, segments, waits)


def clients_missing(gate: Gate, evidence: Evidence, context: Context, alpha: float) -> tuple[str, ...]:
    """What the clients of the variant have not shown yet, in this step and, in the last one, over all steps."""
    if gate.guard is None or not context.serves:
        return ()
    reasons = (evidence.arms or Arms()).missing(gate.guard)
    if context.last and not context.alone:
        reasons += evidence.beside.missing(gate.guard, alpha)
    return tuple(reasons)


def promotion_alpha(gate: Gate, context: Context) -> float:
    """The probability of a wrong promotion by this rollout."""
    return gate.alpha * 0.5 ** min(context.attempt - 1, MOST_HALVINGS)


def find(gate: Gate, metric: Metric, evidence: Evidence, context: Context) -> Finding:
    """Compare one metric with its limit, in both directions."""
    if metric in PAIRED:
        return find_paired(gate, metric, evidence.paired(metric, context.floor_by), context)
    tally, limit = evidence.tallies[metric], gate.limit(metric)
    to_pass, to_break = promotion_alpha(gate, context), gate.alpha_each
    if metric == "errors":
        good, bad = is_below(tally, limit, to_pass), is_above(tally, limit, to_break)
        bounds = lower_bound(tally, to_break), upper_bound(tally, to_pass)
    else:
        good, bad = is_above(tally, limit, to_pass), is_below(tally, limit, to_break)
        bounds = lower_bound(tally, to_pass), upper_bound(tally, to_break)
    within, requests = evidence.in_time if metric == "latency" else (0, 0)
    by_request = within / requests if requests else None
    late = by_request is not None and by_request < limit
    state: State = "broken" if bad else "holds" if good and not late else "open"
    mean = tally.mean if tally.n else None
    # Blocks alone do not say how many more requests have to be in time.
    to_go = outcomes_to_go(tally, limit, to_pass, DEFAULT) if state == "open" and tally.n and not late else None
    return Finding(metric, tally.n, mean, *bounds, limit, state, by_request, to_go=to_go)


def find_paired(gate: Gate, metric: Metric, paired: Paired, context: Context) -> Finding:
    """Compare a mean difference with its limit. Lost requests count at worst for a proof that it holds, and as harmless
    for a proof of harm."""
    factor = gate.floor if metric == "floor" and gate.floor is not None else 1.0
    limit, alpha, bets = gate.limit(metric), promotion_alpha(gate, context), context.bets
    shown, once = (paired.differences(distinct, factor) for distinct in (False, True))
    to_pass, distinct = (each.with_more(-1.0, paired.lost) for each in (shown, once))
    to_break = shown.with_more(1.0, paired.lost)
    good = is_above(to_pass, limit, alpha, bets) and is_above(distinct, limit, alpha, bets)
    if gate.clients == "sample":
        good = good and is_above(paired.first_of_clients(factor).with_more(-1.0, paired.lost), limit, alpha, bets)
    bad = is_below(to_break, limit, gate.alpha_each, context.harm_bets)
    state: State = "broken" if bad else "holds" if good else "open"
    return Finding(
        metric,
        shown.n,
        shown.mean if shown.n else None,
        lower_bound(to_pass, alpha, bets),
        upper_bound(to_break, gate.alpha_each, context.harm_bets),
        limit,
        state,
        once.mean if once.n else None,
        paired.lost,
        outcomes_to_go(to_pass, limit, alpha, bets) if state == "open" and shown.n else None,
    )


def harm_in_step(gate: Gate, evidence: Evidence, metrics: Collection[Metric], context: Context) -> list[str]:
    """What is proven to have become worse than allowed since the present step began."""
    alpha = gate.alpha_step(context.phases)
    names = [metric for metric in DIFFERENCES if metric in metrics]
    harm = [f"{name} in this step" for name in names if evidence.paired(name).harm.has_raised(alpha / len(names))]
    if gate.guard is not None and evidence.arms is not None:
        harm += evidence.arms.broken(gate.guard, alpha)
    return harm


def differs(gate: Gate, paired: Tally) -> bool:
    """Whether the interval of the paired difference excludes 0. It is wrong with probability at most the alpha of one
    metric."""
    return is_above(paired, 0.0, gate.alpha_each / 2) or is_below(paired, 0.0, gate.alpha_each / 2)


def objections(gate: Gate, evidence: Evidence) -> list[str]:
    """The reasons why these outcomes allow no promotion."""
    reasons = []
    if evidence.assignments.is_broken():
        seen, due = evidence.assignments.seen, evidence.assignments.due
        shares = ", ".join(f"{name} {seen[name]} of {due.get(name, 0):.0f} due" for name in sorted(seen))
        worst = evidence.assignments.departs()
        by_whom = f"; {worst.describe()}" if worst else ""
        reasons.append(f"assignments do not follow the weights: {shares}{by_whom}")
    counted = max(evidence.quality.n, evidence.agreement.n)
    if evidence.over_share > counted:
        reasons.append(
            f"{evidence.over_share} compared requests are of clients that brought more than {gate.client_share:.0%} of "
            f"all, and count for nothing; {counted} count: more clients are needed, or a key with the right label"
        )
    return reasons


def lacking(finding: Finding) -> str:
    """What is still missing for an open metric, as one sentence."""
    if not finding.n:
        return f"{finding.metric}: no outcome yet"
    side = "at most" if finding.metric == "errors" else "at least"
    lost = f", {finding.lost} lost and counted at worst" if finding.lost else ""
    at = f"{finding.metric}: {finding.value:.4f} ({finding.low:.4f} to {finding.high:.4f}, n {finding.n}{lost}), "
    if finding.metric == "latency" and finding.distinct is not None and finding.distinct < finding.limit:
        return at + f"but {finding.distinct:.4f} of all requests, which must be at least {finding.limit:g} too"
    if finding.to_go is None:
        return at + f"not yet shown to be {side} {finding.limit:g}, nor to break it"
    return at + f"about {finding.to_go} more like these would show whether it is {side} {finding.limit:g}"


def cost_missing(gate: Gate, costs: tuple[float, float] | None) -> list[str]:
    """Why the variant does not pass the cost metric; empty where it does or the gate has none."""
    if gate.cost is None:
        return []
    if costs is None:
        return ["cost: no card of the variant and its parent on this hardware: run `understudy evaluate`"]
    if costs[0] >= costs[1]:
        return [f"cost: {costs[0]:.3g} is not lower than the parent's {costs[1]:.3g} engine seconds per 1,000 requests"]
    return []
