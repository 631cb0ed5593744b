"""Which variants of a stack are meant, what each is judged against, and the order that follows from it."""

from collections.abc import Sequence

from serve.config.stack import Stack
from variants.errors import UnknownName
from variants.recipes.family import kind_of

VariantRef = tuple[str, str]
"""A model and one of its variants."""


def reference_of(stack: Stack, ref: VariantRef) -> VariantRef | None:
    """What a variant is judged against: its parent, or the model's baseline where it was made from the source by
    something else. None for a baseline."""
    variants = stack.models[ref[0]].variants
    if parent := variants[ref[1]].parent:
        return ref[0], parent
    if kind_of(variants[ref[1]].recipe) == "baseline":
        return None
    baseline = next((name for name, each in variants.items() if kind_of(each.recipe) == "baseline"), None)
    return (ref[0], baseline) if baseline else None


def line_of(stack: Stack, ref: VariantRef) -> list[VariantRef]:
    """What must be built for one card: the variant's ancestors and what it is judged against, itself last."""
    line: dict[VariantRef, None] = {}
    if reference := reference_of(stack, ref):
        line |= dict.fromkeys(line_of(stack, reference))
    return [*line, ref]


def parents_first(stack: Stack, refs: Sequence[VariantRef]) -> list[VariantRef]:
    """The same variants, each after what it is judged against, otherwise in their order."""
    ordered: dict[VariantRef, None] = {}
    for ref in refs:
        line = [ref]
        while (before := reference_of(stack, line[-1])) is not None and before not in line:
            line.append(before)
        ordered |= dict.fromkeys(each for each in reversed(line) if each in refs)
    return list(ordered)


def select_variants(stack: Stack, names: Sequence[str]) -> list[VariantRef]:
    """The (model, variant) pairs that `names` stand for. Raises UnknownName."""
    refs = [(model, variant) for model in stack.models for variant in stack.models[model].variants]
    if not names:
        return refs
    found = []
    for name in names:
        model, _, variant = name.partition("@")
        matching = [ref for ref in refs if ref == (model, variant) or (not variant and ref[0] == model)]
        if not matching:
            known = ", ".join(f"{model}@{variant}" for model, variant in refs)
            raise UnknownName(f"there is no {name!r} in the stack", field="names", mend=f"known are {known}")
        found += matching
    return found
