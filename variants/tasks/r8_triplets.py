"""Triplets of Reuters stories: which of two is about the same topic as the first? For embeddings.

They are made of R8's stories, those of the test split from its test stories alone. Every story is the anchor of one
triplet. The two others are drawn at random, so stories occur in several triplets, and an interval is a little too
narrow. Their order is drawn too: to answer always the same is right half of the time. Stories are cut to 24 words,
which takes half the time of 60.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from variants.tasks.base import SEED, Example, Split, Task, first_words
from variants.tasks.r8 import R8, splits_of, story

_WORDS = 24


class R8Triplets(Task):
    """`input`: an anchor and two others. The label says which of the two has the anchor's topic. Splits are R8's."""

    name = "r8_triplets"
    kind = "triplet"
    labels = ("first", "second")
    sources = R8.sources

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return {split: list(_triplets(stories)) for split, stories in splits_of(files).items()}


def _triplets(stories: Sequence[Example]) -> Iterator[Example]:
    by_topic: dict[str, list[Example]] = {}
    for each in stories:
        by_topic.setdefault(each.label, []).append(each)
    draw = random.Random(SEED)
    for anchor in stories:
        same = draw.choice([each for each in by_topic[anchor.label] if each is not anchor])
        topic = draw.choice([topic for topic in by_topic if topic != anchor.label])
        other = draw.choice(by_topic[topic])
        label = draw.choice(R8Triplets.labels)
        first, second = (same, other) if label == "first" else (other, same)
        yield Example(f"{anchor.id}-triplet", (_text(anchor), _text(first), _text(second)), label)


def _text(each: Example) -> str:
    assert isinstance(each.input, str)
    return first_words(story(each.input), _WORDS)
