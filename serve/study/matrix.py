"""Which cards a study has, and how many examples each is measured on."""

from collections.abc import Mapping, Sequence

from serve.config.lineage import VariantRef, parents_first, select_variants
from serve.config.stack import Stack
from serve.evaluation.measure import Examples, task_of
from variants.errors import InputError
from variants.progress import Progress

MOST_CARDS = 40
EXAMPLES: Mapping[str, int] = {
    "text-generation": 200,
    "text-classification": 1000,
    "image-classification": 1000,
    "object-detection": 500,
    "image-generation": 500,
}
"""By family, most examples of a task: what the study's time allows on 2 cores. Every task's order is a seeded shuffle,
so its first examples are a random sample of it."""
_FAMILIES = {"feature-extraction": "text-classification"}


def family_of(task: str) -> str:
    """The family of a model's task: an encoder's embeddings stand beside its labels."""
    return _FAMILIES.get(task, task)


def matrix(stack: Stack, only: str | None) -> list[VariantRef]:
    """The study's variants, parents first; those of one family where `only` names it. InputError where there are none,
    or more than 40."""
    refs = [ref for ref in whole(stack) if only in (None, family_of(stack.models[ref[0]].task))]
    if not refs:
        known = sorted({family_of(model.task) for model in stack.models.values()})
        raise InputError(f"no model of the family {only!r}", field="--only", mend=f"one of {', '.join(known)}")
    if len(refs) > MOST_CARDS:
        mend = "take variants out of the stack file, or study one family at a time with --only"
        raise InputError(f"{len(refs)} cards, and a study has at most {MOST_CARDS}", field="models", mend=mend)
    return refs


def whole(stack: Stack) -> list[VariantRef]:
    """Every variant of the stack, parents first."""
    return parents_first(stack, select_variants(stack, ()))


def recipes_of(stack: Stack, ref: VariantRef) -> list[VariantRef]:
    """The variant and its parents, itself last: what its weights went through."""
    line = [ref]
    while parent := stack.models[line[-1][0]].variants[line[-1][1]].parent:
        line.append((ref[0], parent))
    return line[::-1]


def limit_of(stack: Stack, model: str, most: int | None) -> int:
    """How many examples of a task a model's variants are asked: what its family's time allows, and at most `most`."""
    allowed = EXAMPLES.get(family_of(stack.models[model].task), 500)
    return allowed if most is None else min(allowed, most)


def examples_for(stack: Stack, model: str, most: int | None, progress: Progress) -> Examples:
    """What each variant of a model is asked: of each of its tasks the first of the test split, as many as its family's
    time allows, and at most `most`."""
    found: dict[str, Sequence] = {}
    limit = limit_of(stack, model, most)
    for name in stack.models[model].evaluate:
        found[name] = task_of(name, progress).examples("test")[:limit]
    return found
