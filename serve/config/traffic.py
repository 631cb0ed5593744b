"""A model's traffic: which share of its requests goes to which variant, who sticks or is pinned to one, and which
variants answer a share of requests again in the shadow. Pure.

The stack file declares it; `/admin/v1/models/{model}/traffic` and rollouts change it while requests flow. Each change
has the next version. What a stack file declares counts again once it declares something else (`merged`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, ValidationError

from serve.config.loader import explain
from serve.config.stack import MOST_WEIGHT, Model, Number, Routing, Stack
from variants.errors import InputError


class Traffic(Routing):
    """The whole of it: `weights` of every variant, relative to each other."""

    weights: dict[str, Annotated[Number, Field(ge=0, allow_inf_nan=False)]]

    @property
    def shares(self) -> dict[str, float]:
        """Weights that sum to 1."""
        total = sum(self.weights.values())
        return {variant: weight / total for variant, weight in self.weights.items()}


@dataclass(frozen=True)
class Versioned:
    """A model's traffic, its version, and what the stack file declared when it was made."""

    version: int
    traffic: Traffic
    declared: Traffic

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "traffic": self.traffic.model_dump(mode="json"),
            "declared": self.declared.model_dump(mode="json"),
        }


def declared(model: Model) -> Traffic:
    """What a stack file says."""
    return Traffic(
        weights={name: variant.weight for name, variant in model.variants.items()}, **model.traffic.model_dump()
    )


def merged(stack: Stack, before: Mapping[str, Versioned]) -> dict[str, Versioned]:
    """The traffic of every model of a stack: what is in force, unless the stack declares something else than when that
    was made."""
    found = {}
    for name, model in stack.models.items():
        now, standing = declared(model), before.get(name)
        if standing is None:
            found[name] = Versioned(1, now, now)
        elif standing.declared == now and set(standing.traffic.weights) == set(now.weights):
            found[name] = standing
        else:
            found[name] = Versioned(standing.version + 1, now, now)
    return found


def read_traffic(document: Mapping[str, Any], model: Model, name: str) -> Traffic:
    """A change of traffic from outside, checked against the model. Raises StackError, InputError naming the field."""
    try:
        traffic = Traffic.model_validate(document)
    except ValidationError as error:
        raise explain(error, Traffic) from None
    check(traffic, model, name)
    return traffic


def check(traffic: Traffic, model: Model, name: str) -> None:
    """Raises InputError unless every variant is there and one has a weight."""
    known = ", ".join(model.variants)
    for field, named in (
        ("weights", traffic.weights), ("pins", set(traffic.pins.values())), ("shadows", traffic.shadows),
    ):  # fmt: skip
        for variant in named:
            if variant not in model.variants:
                raise InputError(f"{name} has no variant {variant!r}", field=field, mend=f"variants are {known}")
    missing = [variant for variant in model.variants if variant not in traffic.weights]
    if missing:
        raise InputError(f"no weight for {', '.join(missing)}", field="weights", mend="give every variant one, 0 too")
    if max(traffic.weights.values()) > MOST_WEIGHT:
        raise InputError(f"a weight above {MOST_WEIGHT:g}", field="weights", mend="they are relative: 90 and 10")
    if not any(weight > 0 for weight in traffic.weights.values()):
        raise InputError("all weights are zero", field="weights", mend="give at least one variant a weight above 0")
