"""A rollout: a plan that moves a model's traffic from a variant's parent to the variant in steps, each behind a gate.

Pure: the next state follows from the plan, the current step and the verdict. In the first step, `shadow`, the variant
answers no client. A number is the variant's percentage of the traffic of both. Shadow replays continue in every step,
so the evidence about the two artifacts grows from step to step.

Proof of harm rolls back at once, at any step. The verdict `promote` starts the next step after `hold_s` seconds. After
the last step a part of the traffic stays with the parent (`holdback`) for `watch_s` seconds, and harm still rolls back.
A rollout that proves nothing ends `undecided`: at its deadline, at its budget of pairs, or when more pairs than the
budget would be needed (futility).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from serve.config.evidence_key import evidence_key
from serve.config.lineage import root_of
from serve.config.loader import refusal
from serve.config.snapshot import Snapshot
from serve.config.stack import Model
from serve.config.traffic import Traffic
from variants.document import Document, Number
from variants.errors import InputError
from variants.evidence.gate import PAIRED, Gate, Metric, Verdict
from variants.evidence.guard import Guard

Holdback = Annotated[Number, Field(ge=0, lt=1)]
Percent = Annotated[Number, Field(gt=0, le=100)]
UNKNOWABLE: tuple[Metric, ...] = ("latency", "feedback")
"""Metrics without evidence while the variant answers no client."""
Status = Literal["running", "paused", "promoted", "rolled back", "undecided", "aborted"]
RETURNED = ("rolled back", "undecided", "aborted")
"""Statuses with the traffic of before."""
FUTILE_FROM = 0.1
"""The part of the budget from which a rollout may be futile. Earlier, the mean of the pairs says too little."""
DAY_S = 86400.0


class Search(Document):
    """A search for the cheapest variant that keeps `quality_floor` of its parent's quality.

    All candidates are compared in shadow on the same requests, each at alpha divided by their number. They may take
    traffic in a fixed order, the cheapest first. `by` is the metric that is compared: quality needs labelled requests,
    agreement does not."""

    objective: Literal["cheapest"]
    quality_floor: Annotated[Number, Field(gt=0, lt=1)] = 0.98
    by: Literal["quality", "agreement"] = "quality"
    shadow: Annotated[Number, Field(gt=0, le=1)] = 0.2
    hold_s: Annotated[Number, Field(ge=0, le=7 * 86400)] = 360.0
    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    guard: Guard | None = Guard()
    holdback: Holdback = 0.05
    watch_s: Annotated[Number, Field(ge=0, le=30 * DAY_S)] = 3600.0

    def plan(self, variant: str, candidates: int) -> "RolloutPlan":
        """The plan for one of `candidates` variants."""
        gate = Gate(quality=None, floor=self.quality_floor, alpha=self.alpha / candidates, guard=self.guard)
        same = self.model_dump(include={"shadow", "hold_s", "by", "holdback", "watch_s"})
        return RolloutPlan(variant=variant, gate=gate, **same)


class RolloutPlan(Document):
    """A requested rollout.

    - `shadow` is the share of requests compared, `hold_s` the least seconds of a step.
    - `holdback` is the share of both variants' traffic that stays with the parent after the last step, for `watch_s`
      seconds.
    - `deadline_s` and `budget` (compared requests) end a rollout that proves nothing.
    - `aa`: compare the parent with itself in place of the variant. It never changes traffic.
    - `continues`: begin with the evidence of the rollout before. `against_card`: why to begin although the card proves
      the variant worse than the gate allows."""

    variant: str
    steps: tuple[Literal["shadow"] | Percent, ...] = ("shadow", 10.0, 50.0, 100.0)
    shadow: Annotated[Number, Field(gt=0, le=1)] = 0.2
    hold_s: Annotated[Number, Field(ge=0, le=7 * 86400)] = 360.0
    gate: Gate = Gate()
    by: Literal["quality", "agreement"] = "quality"
    holdback: Holdback = 0.05
    watch_s: Annotated[Number, Field(ge=0, le=30 * DAY_S)] = 3600.0
    deadline_s: Annotated[Number, Field(gt=0, le=365 * DAY_S)] = 7 * DAY_S
    budget: Annotated[int, Field(strict=True, gt=0)] = 100_000
    aa: bool = Field(default=False, strict=True, exclude_if=lambda aa: not aa)
    continues: Annotated[bool, Field(strict=True)] = False
    against_card: Annotated[str, Field(min_length=1, max_length=500)] | None = None

    @model_validator(mode="after")
    def check_steps(self) -> Self:
        numbers = [step for step in self.steps if step != "shadow"]
        if not self.steps or numbers != sorted(set(numbers)) or "shadow" in self.steps[1:]:
            raise ValueError("steps must be rising percentages, `shadow` only first: [shadow, 10, 50, 100]")
        if self.aa and self.steps != ("shadow",):
            raise ValueError("aa compares the parent with itself and moves no traffic: its only step is [shadow]")
        if self.steps[0] == "shadow" and not set(self.gate.metrics) - set(UNKNOWABLE):
            raise ValueError("the step `shadow` has no feedback, because it answers no client: steps [10, 50, 100]")
        return self

    def compared(self, parent: str) -> str:
        """The variant that is compared with the parent: itself in an A/A comparison."""
        return parent if self.aa else self.variant


@dataclass(frozen=True)
class Rollout:
    """A plan and its progress.

    `digests` are the parent's and the variant's at the start, `engines` a hash of both engines and the versions. A
    rollback restores the traffic `before`. If this variant fails, a search tries the variants of `queue` by the same
    plan. `source` gives up traffic to the variant, and is compared as the guard says; it is the parent, or the variant
    that took over from it. `began` is the traffic version of the start, `began_at` its time in seconds since the epoch.
    `watched`: it was promoted, and part of the traffic is still the parent's. `rivals` has the key of the evidence of
    each variant of `queue`: they are compared on the same requests. `follows`: it was a rival, so its evidence began
    with the search."""

    plan: RolloutPlan
    parent: str
    digests: tuple[str, str]
    before: Traffic
    step: int = 0
    status: Status = "running"
    why: str = ""
    queue: tuple[str, ...] = ()
    engines: str = ""
    source: str = ""
    source_digest: str = ""
    began: int = 0
    began_at: float = 0.0
    watched: bool = False
    rivals: Mapping[str, str] = field(default_factory=dict)
    follows: bool = False

    @property
    def open(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def counts(self) -> bool:
        """Whether outcomes are evidence for it."""
        return self.open or self.watched

    @property
    def pair(self) -> str:
        """The key of its evidence. It names artifacts, because names can be built again."""
        return ":".join((*self.digests, self.engines) if self.engines else self.digests)

    @property
    def moment(self) -> tuple[int, int, str]:
        """What the least time of a step is counted from."""
        return self.began, self.step, self.status

    @property
    def doing(self) -> str:
        step = self.plan.steps[self.step]
        return step if step == "shadow" else f"{step:g} %"

    def traffic(self) -> Traffic:
        """The traffic of the current step, or the traffic of before if the rollout has failed."""
        if self.status in RETURNED or (self.plan.aa and not self.open):
            return self.before
        weights, step = dict(self.before.weights), self.plan.steps[self.step]
        if step != "shadow":
            most = 1.0 if self.status == "promoted" and not self.watched else 1.0 - self.plan.holdback
            source = self.source or self.parent
            both = weights[source] + weights[self.plan.variant]
            weights[self.plan.variant] = both * min(step / 100, most)
            weights[source] = both - weights[self.plan.variant]
        shadows = dict(self.before.shadows)
        if self.status == "promoted" and not self.watched:
            shadows.pop(self.plan.variant, None)
        else:
            shadows[self.plan.variant] = self.plan.shadow
        if self.open:
            shadows |= dict.fromkeys(self.rivals, self.plan.shadow)
        return self.before.model_copy(update={"weights": weights, "shadows": shadows})

    def without(self, rivals: Collection[str], why: str) -> "Rollout":
        """The same search without some of its rivals."""
        queue = tuple(name for name in self.queue if name not in rivals)
        left = {name: pair for name, pair in self.rivals.items() if name not in rivals}
        return replace(self, queue=queue, rivals=left, why=why)

    def to_json(self) -> dict[str, Any]:
        return dict(ROLLOUT.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Rollout":
        """The reverse of `to_json`. Raises ValidationError."""
        return ROLLOUT.validate_python(document)


ROLLOUT = TypeAdapter(Rollout)


def read_search(document: dict[str, Any], model: Model, name: str) -> tuple[Search, str, list[str]]:
    """Read a search. Gives it, the parent, and the candidates in stack order. Raises StackError, InputError."""
    try:
        search = Search.model_validate(document)
    except ValidationError as error:
        raise refusal(error, Search) from None
    parents = [variant.parent for variant in model.variants.values() if variant.parent]
    roots = [parent for parent in dict.fromkeys(parents) if model.variants[parent].parent is None]
    if not roots:
        raise InputError(f"no variant of {name} has a parent to compare with", field="objective")
    return search, roots[0], [child for child, variant in model.variants.items() if variant.parent == roots[0]]


def read_plan(document: dict[str, Any], model: Model, name: str) -> tuple[RolloutPlan, str]:
    """Read a plan. Gives it and what the variant is compared with: the first parent of its line. Raises StackError,
    InputError naming the field."""
    try:
        plan = RolloutPlan.model_validate(document)
    except ValidationError as error:
        raise refusal(error, RolloutPlan) from None
    if plan.variant not in model.variants:
        known = ", ".join(model.variants)
        raise InputError(f"{name} has no variant {plan.variant!r}", field="variant", mend=f"variants are {known}")
    parent = root_of(model.variants, plan.variant)
    if parent is None:
        children = ", ".join(child for child, variant in model.variants.items() if variant.parent) or "none"
        raise InputError(
            f"{plan.variant} has no parent to compare with", field="variant", mend=f"variants with a parent: {children}"
        )
    return plan, parent


def source_of(weights: Mapping[str, float], line: Sequence[str]) -> str:
    """Whose traffic a rollout moves to the last of `line` (`serve.config.lineage.compressions_of`): that of the nearest
    variant that it was made from and that has traffic, or else of the one that serves in their place. All evidence is
    against the first of the line, so losses do not add up from variant to variant."""
    *made_from, variant = line
    if (serving := next((name for name in reversed(made_from) if weights[name] > 0), None)) is not None:
        return serving
    if weights[variant] > 0:
        return line[0]
    return max((name for name in weights if name not in (line[0], variant)), key=weights.__getitem__)


def rivals_of(snapshot: Snapshot, model: str, parent: str, variant: str, queue: tuple[str, ...]) -> dict[str, str]:
    """The keys of the evidence of a search's other candidates, by name. Two names of one build are compared once."""
    served = snapshot.variants
    known, rivals = {evidence_key(served[model, parent], served[model, variant])}, {}
    for name in queue:
        if (model, name) in served:
            key = evidence_key(served[model, parent], served[model, name])
            if key not in known:
                rivals[name] = key
                known.add(key)
    return rivals


def next_of(rollout: Rollout, verdict: Verdict, held_s: float, compared: int, at: float) -> Rollout:
    """The rollout after a verdict on `compared` pairs, at a time in seconds since the epoch. `held_s` is the time since
    its last change. The same object if nothing changes."""
    if rollout.status != "running" and not rollout.watched:
        return rollout
    if verdict.decision == "roll back":
        why = f"{', '.join(verdict.harm)} proven worse than the gate allows"
        return replace(rollout, status="rolled back", watched=False, why=why)
    if rollout.watched:
        over = held_s >= rollout.plan.watch_s
        return replace(rollout, watched=False, why="no harm was detected after the promotion") if over else rollout
    if verdict.decision != "promote":
        lasted_s = at - rollout.began_at if rollout.began_at else 0.0  # rollouts of older journals have no time
        why = undecided(rollout.plan, verdict, compared, lasted_s)
        return replace(rollout, status="undecided", why=why) if why else rollout
    if held_s < rollout.plan.hold_s:
        return rollout
    if rollout.step + 1 < len(rollout.plan.steps):
        return replace(rollout, step=rollout.step + 1, why="the gate was passed")
    watched = rollout.plan.watch_s > 0 and rollout.plan.steps[-1] != "shadow"
    why = "the parent passes the gate against itself" if rollout.plan.aa else "the gate was passed"
    return replace(rollout, status="promoted", watched=watched, why=why)


def undecided(plan: RolloutPlan, verdict: Verdict, compared: int, lasted_s: float) -> str:
    """Why a rollout ends without a verdict; empty where it goes on.

    The budget does not end one that only needs more time with its own clients."""
    if lasted_s >= plan.deadline_s:
        return f"the deadline of {plan.deadline_s:g} s passed without a verdict"
    if compared >= plan.budget and set(verdict.missing) > set(verdict.waits):
        return f"the budget of {plan.budget} pairs is used up without a verdict"
    if compared >= FUTILE_FROM * plan.budget:
        open_ones = [each for each in verdict.findings if each.state == "open" and each.metric in PAIRED]
        if any(each.to_go is None or each.to_go > plan.budget - compared for each in open_ones):
            return f"futile: after {compared} pairs a verdict needs more than the budget of {plan.budget}"
    return ""


def unknowable(rollout: Rollout) -> tuple[Metric, ...]:
    """Metrics for which the current step gives no evidence."""
    return UNKNOWABLE if rollout.plan.steps[rollout.step] == "shadow" else ()
