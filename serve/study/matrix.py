"""The cards of a study, and the number of examples that each is measured on."""

from collections.abc import Mapping

from serve.config.lineage import VariantRef, parents_first, select_variants
from serve.config.stack import Stack
from serve.evaluation.measure import Examples
from variants.errors import InputError
from variants.home import home
from variants.progress import Progress

MOST_CARDS = 40
EXAMPLES: Mapping[str, int] = {
    "text-generation": 200,
    "text-classification": 1000,
    "image-classification": 1000,
    "object-detection": 500,
    "image-generation": 500,
}
"""The most examples of a task, by family: what the study's time allows on 2 cores. Every task's order is a seeded
shuffle, so its first examples are a random sample of it."""
_FAMILIES = {"feature-extraction": "text-classification"}


def family_of(task: str) -> str:
    """The family of a model's task. Embeddings of an encoder belong to the family of its labels."""
    return _FAMILIES.get(task, task)


def matrix(stack: Stack, only: str | None) -> list[VariantRef]:
    """The study's variants, parents first; only those of the family `only`, if given. Raises InputError if there are
    none, or more than MOST_CARDS."""
    refs = [ref for ref in whole(stack) if only in (None, family_of(stack.models[ref[0]].task))]
    if not refs:
        known = sorted({family_of(model.task) for model in stack.models.values()})
        raise InputError(f"no model of the family {only!r}", field="--only", mend=f"one of {', '.join(known)}")
    if len(refs) > MOST_CARDS:
        mend = "remove variants from the stack file, or study one family at a time with --only"
        raise InputError(f"{len(refs)} cards, and a study has at most {MOST_CARDS}", field="models", mend=mend)
    return refs


def whole(stack: Stack) -> list[VariantRef]:
    """Every variant of the stack, parents first."""
    return parents_first(stack, select_variants(stack, ()))


def recipes_of(stack: Stack, ref: VariantRef) -> list[VariantRef]:
    """The variant after its parents: the steps that its weights went through."""
    line = [ref]
    while parent := stack.models[line[-1][0]].variants[line[-1][1]].parent:
        line.append((ref[0], parent))
    return line[::-1]


def limit_of(stack: Stack, model: str, most: int | None) -> int:
    """How many examples of a task a model's variants are asked: what EXAMPLES allows, and at most `most`."""
    allowed = EXAMPLES.get(family_of(stack.models[model].task), 500)
    return allowed if most is None else min(allowed, most)


def examples_for(stack: Stack, model: str, most: int | None, progress: Progress) -> Examples:
    """The examples that each variant of a model is asked: of each of its tasks the first `limit_of` of the test
    split."""
    limit = limit_of(stack, model, most)
    tasks = {name: stack.all_tasks.get(name, home(), progress) for name in stack.models[model].evaluate}
    return {name: task.examples("test")[:limit] for name, task in tasks.items()}
