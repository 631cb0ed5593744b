"""A model's traffic: the weights of its variants, sticky clients, pins, and shadows that replay a share of requests.

Pure. The stack file declares it. `/admin/v1/models/{model}/traffic` and rollouts change it during operation. Each
change has the next version. The declaration of a stack file is applied again only after it has changed (`merged`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from serve.config.loader import refusal
from serve.config.stack import MOST_WEIGHT, Model, Routing, Stack
from variants.document import Number
from variants.errors import InputError


class Traffic(Routing):
    """The complete traffic of a model. `weights` has every variant, relative to each other."""

    weights: dict[str, Annotated[Number, Field(ge=0, allow_inf_nan=False)]]

    @property
    def shares(self) -> dict[str, float]:
        """The weights, normalised to a sum of 1."""
        total = sum(self.weights.values())
        return {variant: weight / total for variant, weight in self.weights.items()}


@dataclass(frozen=True)
class Versioned:
    """A model's traffic, its version, and the stack file's declaration at that time."""

    version: int
    traffic: Traffic
    declared: Traffic

    def to_json(self) -> dict[str, Any]:
        return dict(VERSIONED.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Versioned":
        """The reverse of `to_json`. Other keys of the document are ignored. Raises ValidationError."""
        return VERSIONED.validate_python(document)


VERSIONED = TypeAdapter(Versioned)


def declared(model: Model) -> Traffic:
    """The traffic that the stack file declares."""
    return Traffic(
        weights={name: variant.weight for name, variant in model.variants.items()}, **model.traffic.model_dump()
    )


def merged(stack: Stack, before: Mapping[str, Versioned]) -> dict[str, Versioned]:
    """The traffic of every model of a stack: what is in force, unless the stack's declaration has changed since."""
    traffic: dict[str, Versioned] = {}
    for name, model in stack.models.items():
        now, current = declared(model), before.get(name)
        if current is None:
            traffic[name] = Versioned(1, now, now)
        elif current.declared == now and set(current.traffic.weights) == set(now.weights):
            traffic[name] = current
        else:
            traffic[name] = Versioned(current.version + 1, now, now)
    return traffic


def read_traffic(document: Mapping[str, Any], model: Model, name: str) -> Traffic:
    """Read a change of traffic and check it against the model. Raises StackError, InputError naming the field."""
    try:
        traffic = Traffic.model_validate(document)
    except ValidationError as error:
        raise refusal(error, Traffic) from None
    check(traffic, model, name)
    return traffic


def check(traffic: Traffic, model: Model, name: str) -> None:
    """Raises InputError for an unknown or missing variant, a weight above the limit, or weights that are all zero."""
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
        raise InputError(f"a weight is above {MOST_WEIGHT:g}", field="weights", mend="they are relative: use 90 and 10")
    if not any(weight > 0 for weight in traffic.weights.values()):
        raise InputError("all weights are zero", field="weights", mend="give at least one variant a weight above 0")
