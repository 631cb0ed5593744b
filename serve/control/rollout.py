"""A rollout: a plan that moves a model's traffic from a variant's parent to the variant in steps, each behind a gate.

Pure: what happens next follows from the plan, where it stands and the verdict. In the first step, `shadow`, nobody is
answered by the variant; a number is the variant's percentage of what the two of them had together. Shadows go on
through all steps, so evidence about the same two artifacts grows from step to step.

Proof of harm rolls back at once, at any step. Promoting takes the next step, once the step was held for `hold_s`.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from serve.config.loader import explain
from serve.config.stack import Model, Number, Strict
from serve.config.traffic import Traffic
from variants.errors import InputError
from variants.evidence.gate import Gate, Metric, Verdict

Percent = Annotated[Number, Field(gt=0, le=100)]
UNKNOWABLE: tuple[Metric, ...] = ("latency", "feedback")
"""While nobody is answered by the variant."""
Status = Literal["running", "paused", "promoted", "rolled back", "aborted"]


class Search(Strict):
    """Find the cheapest variant that keeps `quality_floor` of its parent's quality: candidates in shadow, in order of
    rising cost, at alpha divided by their number. `by` says what is compared where requests carry no labels."""

    objective: Literal["cheapest"]
    quality_floor: Annotated[Number, Field(gt=0, lt=1)] = 0.98
    by: Literal["quality", "agreement"] = "quality"
    shadow: Annotated[Number, Field(gt=0, le=1)] = 0.2
    hold_s: Annotated[Number, Field(ge=0, le=7 * 86400)] = 10.0
    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.05

    def plan(self, variant: str, candidates: int) -> "RolloutPlan":
        """How one candidate is tried."""
        gate = Gate(quality=None, floor=self.quality_floor, alpha=self.alpha / candidates)
        steps: tuple[Literal["shadow"] | float, ...] = ("shadow", 100.0)
        return RolloutPlan(variant=variant, steps=steps, shadow=self.shadow, hold_s=self.hold_s, gate=gate, by=self.by)


class RolloutPlan(Strict):
    """What is asked for. `shadow` is the share of requests that are compared; `hold_s` the least time a step lasts."""

    variant: str
    steps: tuple[Literal["shadow"] | Percent, ...] = ("shadow", 10.0, 50.0, 100.0)
    shadow: Annotated[Number, Field(gt=0, le=1)] = 0.2
    hold_s: Annotated[Number, Field(ge=0, le=7 * 86400)] = 10.0
    gate: Gate = Gate()
    by: Literal["quality", "agreement"] = "quality"

    @model_validator(mode="after")
    def check_steps(self) -> Self:
        numbers = [step for step in self.steps if step != "shadow"]
        if not self.steps or numbers != sorted(set(numbers)) or "shadow" in self.steps[1:]:
            raise ValueError("steps are percentages that rise, `shadow` only as the first: [shadow, 10, 50, 100]")
        if self.steps[0] == "shadow" and not set(self.gate.metrics) - set(UNKNOWABLE):
            raise ValueError("nobody is answered in `shadow`, so feedback says nothing there: steps [10, 50, 100]")
        return self


@dataclass(frozen=True)
class Rollout:
    """Where a plan stands. `parent` and `digests` (parent's, variant's) are those it began with; `before` is the
    traffic that a rollback returns to; `queue` are the variants that are tried by the same plan if this one fails."""

    plan: RolloutPlan
    parent: str
    digests: tuple[str, str]
    before: Traffic
    step: int = 0
    status: Status = "running"
    why: str = ""
    queue: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def pair(self) -> str:
        """The key of its evidence: artifacts, not names."""
        return ":".join(self.digests)

    @property
    def doing(self) -> str:
        step = self.plan.steps[self.step]
        return step if step == "shadow" else f"{step:g} %"

    def traffic(self) -> Traffic:
        """What the step asks for; what it was before where the rollout has failed."""
        if self.status in ("rolled back", "aborted"):
            return self.before
        weights, step = dict(self.before.weights), self.plan.steps[self.step]
        if step != "shadow":
            both = weights[self.parent] + weights[self.plan.variant]
            weights[self.plan.variant] = both * step / 100
            weights[self.parent] = both - weights[self.plan.variant]
        shadows = dict(self.before.shadows)
        if self.status == "promoted":
            shadows.pop(self.plan.variant, None)
        else:
            shadows[self.plan.variant] = self.plan.shadow
        return self.before.model_copy(update={"weights": weights, "shadows": shadows})

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan.model_dump(mode="json"),
            "parent": self.parent,
            "digests": list(self.digests),
            "before": self.before.model_dump(mode="json"),
            "step": self.step,
            "status": self.status,
            "why": self.why,
            "queue": list(self.queue),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Rollout":
        return cls(
            RolloutPlan.model_validate(document["plan"]),
            document["parent"],
            (document["digests"][0], document["digests"][1]),
            Traffic.model_validate(document["before"]),
            document["step"],
            document["status"],
            document["why"],
            tuple(document["queue"]),
        )


def read_search(document: dict[str, Any], model: Model, name: str) -> tuple[Search, str, list[str]]:
    """A search from outside, the parent, and its candidates in the stack's order. Raises StackError, InputError."""
    try:
        search = Search.model_validate(document)
    except ValidationError as error:
        raise explain(error, Search) from None
    parents = [found.parent for found in model.variants.values() if found.parent]
    roots = [parent for parent in dict.fromkeys(parents) if model.variants[parent].parent is None]
    if not roots:
        raise InputError(f"no variant of {name} has a parent to be compared with", field="objective")
    return search, roots[0], [child for child, found in model.variants.items() if found.parent == roots[0]]


def read_plan(document: dict[str, Any], model: Model, name: str) -> tuple[RolloutPlan, str]:
    """A plan from outside and the parent that it is measured against. Raises StackError, InputError naming the
    field."""
    try:
        plan = RolloutPlan.model_validate(document)
    except ValidationError as error:
        raise explain(error, RolloutPlan) from None
    if plan.variant not in model.variants:
        known = ", ".join(model.variants)
        raise InputError(f"{name} has no variant {plan.variant!r}", field="variant", mend=f"variants are {known}")
    parent = model.variants[plan.variant].parent
    if parent is None:
        children = ", ".join(child for child, found in model.variants.items() if found.parent) or "none"
        raise InputError(
            f"{plan.variant} has no parent to be compared with", field="variant", mend=f"variants that have: {children}"
        )
    return plan, parent


def next_of(rollout: Rollout, verdict: Verdict, held_s: float) -> Rollout:
    """Where the rollout stands after a verdict; the very same where nothing is to be done."""
    if rollout.status != "running":
        return rollout
    if verdict.decision == "roll back":
        broken = ", ".join(found.metric for found in verdict.findings if found.state == "broken")
        return replace(rollout, status="rolled back", why=f"{broken} proven worse than the gate allows")
    if verdict.decision != "promote" or held_s < rollout.plan.hold_s:
        return rollout
    if rollout.step + 1 < len(rollout.plan.steps):
        return replace(rollout, step=rollout.step + 1, why="the gate was passed")
    return replace(rollout, status="promoted", why="the gate was passed")


def unknowable(rollout: Rollout) -> tuple[Metric, ...]:
    """Metrics of which the present step can say nothing."""
    return UNKNOWABLE if rollout.plan.steps[rollout.step] == "shadow" else ()
