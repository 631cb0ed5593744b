"""Selects variants of a stack, finds the reference that each is compared with, and orders them by it."""

from collections.abc import Mapping, Sequence

from serve.config.stack import Stack, Variant
from variants.errors import UnknownName
from variants.recipes.family import kind_of

VariantRef = tuple[str, str]
"""A model and one of its variants."""


def reference_of(stack: Stack, ref: VariantRef) -> VariantRef | None:
    """The variant to compare with: the parent, or the model's baseline for a variant without a parent.

    None for a baseline."""
    variants = stack.models[ref[0]].variants
    if parent := variants[ref[1]].parent:
        return ref[0], parent
    if kind_of(variants[ref[1]].recipe) == "baseline":
        return None
    baseline = next((name for name, each in variants.items() if kind_of(each.recipe) == "baseline"), None)
    return (ref[0], baseline) if baseline else None


def compressions_of(variants: Mapping[str, Variant], name: str) -> list[str]:
    """What live requests compare a variant with, then each variant that was made from it, `name` last.

    That is the first of its line: of a variant that was made from a compressed one the uncompressed one. So losses do
    not add up. An adapter has learned what its parent cannot, so what is made from an adapter is compared with that."""
    line = [name]
    while (parent := variants[line[0]].parent) is not None and parent not in line:
        line.insert(0, parent)
        if kind_of(variants[parent].recipe) in ("baseline", "lora"):
            break
    return line


def root_of(variants: Mapping[str, Variant], name: str) -> str | None:
    """The variant that live requests compare `name` with; None for one without a parent."""
    root = compressions_of(variants, name)[0]
    return None if root == name else root


def line_of(stack: Stack, ref: VariantRef) -> list[VariantRef]:
    """The variants to build for one card: the variant's references up to the baseline, itself last."""
    line: dict[VariantRef, None] = {}
    if reference := reference_of(stack, ref):
        line |= dict.fromkeys(line_of(stack, reference))
    return [*line, ref]


def parents_first(stack: Stack, refs: Sequence[VariantRef]) -> list[VariantRef]:
    """The same variants, each after its reference, otherwise in their order."""
    ordered: dict[VariantRef, None] = {}
    for ref in refs:
        line = [ref]
        while (before := reference_of(stack, line[-1])) is not None and before not in line:
            line.append(before)
        ordered |= dict.fromkeys(each for each in reversed(line) if each in refs)
    return list(ordered)


def select_variants(stack: Stack, names: Sequence[str]) -> list[VariantRef]:
    """The variants that `names` select, each a `model` or a `model@variant`; all if empty. Raises UnknownName."""
    refs = [(model, variant) for model in stack.models for variant in stack.models[model].variants]
    if not names:
        return refs
    selected: list[VariantRef] = []
    for name in names:
        model, _, variant = name.partition("@")
        matching = [ref for ref in refs if ref == (model, variant) or (not variant and ref[0] == model)]
        if not matching:
            known = ", ".join(f"{model}@{variant}" for model, variant in refs)
            raise UnknownName(f"there is no {name!r} in the stack", field="names", mend=f"known are {known}")
        selected += matching
    return selected
