"""A rollout: a plan that moves a model's traffic from a variant's parent to the variant in steps, each behind a gate.

Pure: the next state follows from the plan, the current step and the verdict. In the first step, `shadow`, the variant
answers no client. A number is the variant's percentage of the traffic of both. Shadow replays continue in every step,
so the evidence about the two artifacts grows from step to step.

Proof of harm rolls back at once, at any step. The verdict `promote` starts the next step after `hold_s` seconds.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from serve.config.loader import refusal
from serve.config.stack import Model, Number
from serve.config.traffic import Traffic
from variants.document import Document
from variants.errors import InputError
from variants.evidence.gate import Gate, Metric, Verdict

Percent = Annotated[Number, Field(gt=0, le=100)]
UNKNOWABLE: tuple[Metric, ...] = ("latency", "feedback")
"""Metrics without evidence while the variant answers no client."""
Status = Literal["running", "paused", "promoted", "rolled back", "aborted"]


class Search(Document):
    """A search for the cheapest variant that keeps `quality_floor` of its parent's quality.

    Candidates run in shadow, cheapest first, each at alpha divided by their number. `by` is the metric that is
    compared: quality needs labelled requests, agreement does not."""

    objective: Literal["cheapest"]
    quality_floor: Annotated[Number, Field(gt=0, lt=1)] = 0.98
    by: Literal["quality", "agreement"] = "quality"
    shadow: Annotated[Number, Field(gt=0, le=1)] = 0.2
    hold_s: Annotated[Number, Field(ge=0, le=7 * 86400)] = 10.0
    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.05

    def plan(self, variant: str, candidates: int) -> "RolloutPlan":
        """The plan for one of `candidates` variants."""
        gate = Gate(quality=None, floor=self.quality_floor, alpha=self.alpha / candidates)
        steps: tuple[Literal["shadow"] | float, ...] = ("shadow", 100.0)
        return RolloutPlan(variant=variant, steps=steps, shadow=self.shadow, hold_s=self.hold_s, gate=gate, by=self.by)


class RolloutPlan(Document):
    """A requested rollout. `shadow` is the share of requests compared, `hold_s` the least seconds of a step."""

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
            raise ValueError("steps must be rising percentages, `shadow` only first: [shadow, 10, 50, 100]")
        if self.steps[0] == "shadow" and not set(self.gate.metrics) - set(UNKNOWABLE):
            raise ValueError("the step `shadow` has no feedback, because it answers no client: steps [10, 50, 100]")
        return self


@dataclass(frozen=True)
class Rollout:
    """A plan and its progress. `digests` are the parent's and the variant's at the start. A rollback restores the
    traffic `before`. If this variant fails, a search tries the variants of `queue` by the same plan."""

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
        """The key of its evidence. It names artifacts, because names can be built again."""
        return ":".join(self.digests)

    @property
    def doing(self) -> str:
        step = self.plan.steps[self.step]
        return step if step == "shadow" else f"{step:g} %"

    def traffic(self) -> Traffic:
        """The traffic of the current step, or the traffic of before if the rollout has failed."""
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
    """Read a plan. Gives it and the variant's parent. Raises StackError, InputError naming the field."""
    try:
        plan = RolloutPlan.model_validate(document)
    except ValidationError as error:
        raise refusal(error, RolloutPlan) from None
    if plan.variant not in model.variants:
        known = ", ".join(model.variants)
        raise InputError(f"{name} has no variant {plan.variant!r}", field="variant", mend=f"variants are {known}")
    parent = model.variants[plan.variant].parent
    if parent is None:
        children = ", ".join(child for child, variant in model.variants.items() if variant.parent) or "none"
        raise InputError(
            f"{plan.variant} has no parent to compare with", field="variant", mend=f"variants with a parent: {children}"
        )
    return plan, parent


def next_of(rollout: Rollout, verdict: Verdict, held_s: float) -> Rollout:
    """The rollout after a verdict. The same object if nothing changes."""
    if rollout.status != "running":
        return rollout
    if verdict.decision == "roll back":
        broken = ", ".join(finding.metric for finding in verdict.findings if finding.state == "broken")
        return replace(rollout, status="rolled back", why=f"{broken} proven worse than the gate allows")
    if verdict.decision != "promote" or held_s < rollout.plan.hold_s:
        return rollout
    if rollout.step + 1 < len(rollout.plan.steps):
        return replace(rollout, step=rollout.step + 1, why="the gate was passed")
    return replace(rollout, status="promoted", why="the gate was passed")


def unknowable(rollout: Rollout) -> tuple[Metric, ...]:
    """Metrics for which the current step gives no evidence."""
    return UNKNOWABLE if rollout.plan.steps[rollout.step] == "shadow" else ()
