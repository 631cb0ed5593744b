"""What each variant of a stack is judged against, and the order that follows from it."""

from collections.abc import Sequence

from serve.stack import Stack
from variants.kinds import kind_of

Seat = tuple[str, str]
"""A model and one of its variants."""


def reference_of(stack: Stack, seat: Seat) -> Seat | None:
    """What a variant is judged against: its parent, or the model's baseline where it was made from the source by
    something else. None for a baseline."""
    variants = stack.models[seat[0]].variants
    if parent := variants[seat[1]].parent:
        return seat[0], parent
    if kind_of(variants[seat[1]].recipe) == "baseline":
        return None
    baseline = next((name for name, each in variants.items() if kind_of(each.recipe) == "baseline"), None)
    return (seat[0], baseline) if baseline else None


def parents_first(stack: Stack, seats: Sequence[Seat]) -> list[Seat]:
    """The same seats, each after what it is judged against, otherwise in their order."""
    ordered: dict[Seat, None] = {}
    for seat in seats:
        line = [seat]
        while (before := reference_of(stack, line[-1])) is not None and before not in line:
            line.append(before)
        ordered |= dict.fromkeys(each for each in reversed(line) if each in seats)
    return list(ordered)
