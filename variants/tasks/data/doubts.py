"""What is probably wrong with a user's rows, although they can be used: for warnings."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from variants.tasks.base import Example, Input

LEAST_TEST = 30
SOME = 3


def doubts_of(rows: Iterable[Example], test: Sequence[Example], are_classes: bool) -> tuple[str, ...]:
    """A sentence for each. `rows` are all examples, repeated inputs too; `test` those of the test. `are_classes` says
    that labels are classes: a free text may well differ for the same input."""
    doubts = []
    if are_classes:
        examples = list(rows)
        if like := alike({example.label for example in examples}):
            shown = "; ".join(" and ".join(repr(label) for label in group) for group in like[:SOME])
            doubts.append(f"labels that differ only in case or blanks count as different ones: {shown}")
        if twice := contradicting(examples):
            inputs = "one input occurs" if len(twice) == 1 else f"{len(twice)} inputs occur"
            doubts.append(f"{inputs} with different labels, and one row of each is used; the first is {twice[0]}")
    if len(test) < LEAST_TEST:
        points = 98 / math.sqrt(len(test))
        known = f"so an accuracy is known within {points:.0f} points only"
        few = known if are_classes else "too few for a narrow interval"
        count = "one example" if len(test) == 1 else f"{len(test)} examples"
        doubts.append(f"the test has {count}, {few}: add rows")
    return tuple(doubts)


def alike(labels: Iterable[str]) -> list[list[str]]:
    """The groups of labels that are equal without case and blanks, in order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        groups["".join(label.casefold().split())].append(label.strip())
    return [group for group in groups.values() if len(group) > 1]


def contradicting(examples: Iterable[Example]) -> list[str]:
    """The id of the first example of each input that occurs with more than one label."""
    first: dict[Input, Example] = {}
    ids: dict[str, None] = {}
    for example in examples:
        before = first.setdefault(example.input, example)
        if before.label != example.label:
            ids[before.id] = None
    return list(ids)
