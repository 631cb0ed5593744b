"""What a task is: named, labelled examples in three splits that never change.

The order within a split is a seeded shuffle, so the first n of a split are a random sample of it. Nothing in `test`
occurs in the two other splits, not even as the same text under another id.
"""

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from variants.document import canonical_sha256
from variants.home import home as default_home
from variants.metrics.base import ACCURACY, Metric
from variants.progress import Progress
from variants.recipes.source import Source, fetch

Split = Literal["train", "calibration", "test"]
SEED = 20261123


@dataclass(frozen=True)
class Prompt:
    """What to draw, and the seed of the noise that it is drawn from: the same for every variant."""

    text: str
    seed: int


@dataclass(frozen=True)
class Example:
    """`input` is a whole prompt (text), a text to be classified (article), the bytes of a PNG (image; PNG or JPEG for
    ranked and boxes), three texts (triplet), a context and its possible endings (choice), plain text (passage), or what
    to draw (drawing); `label` is one of the task's labels, labelled boxes as `variants.vision.boxes` writes them, ""
    for a passage."""

    id: str
    input: str | bytes | tuple[str, ...] | Prompt
    label: str


class Task(ABC):
    """A task: `name`, `kind` ("text", "article", "image", "ranked": an image, and right is a label among the first
    five, "triplet", "boxes", "choice", "passage" or "drawing"), `labels`, `sources`, `examples`. `metrics`: what its
    outcomes come to, the one it is judged by first."""

    name: ClassVar[str]
    kind: ClassVar[Literal["text", "article", "image", "ranked", "triplet", "boxes", "choice", "passage", "drawing"]]
    labels: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)

    def __init__(self, home: Path | None = None, progress: Progress | None = None) -> None:
        self._home = home or default_home()
        self._progress = progress

    @property
    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """Where its data comes from; a class attribute where that is always the same."""

    def examples(self, split: Split, n: int | None = None) -> list[Example]:
        """The first `n` examples of a split, or all. ValueError when it holds fewer than `n`, or there is no such
        split."""
        if split not in self._splits:
            raise ValueError(f"{self.name} has no split {split!r}: train, calibration or test")
        examples = self._splits[split]
        if n is not None and n > len(examples):
            raise ValueError(f"{self.name} has {len(examples)} examples in its {split} split, not {n}")
        return list(examples[:n])

    @cached_property
    def test_sha256(self) -> str:
        """sha256 over the test split's ids, inputs and labels: what was answered holds for these alone. Data that a
        user names, a prompt's wording, and a split may all change while the names stay."""
        return canonical_sha256([[each.id, _plain(each.input), each.label] for each in self.examples("test")])

    @cached_property
    def _splits(self) -> dict[Split, Sequence[Example]]:
        return self._load([fetch(source, self._home, self._progress) for source in self.sources])

    @abstractmethod
    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        """All splits out of the fetched `sources`, in their order."""


def _plain(given: str | bytes | tuple[str, ...] | Prompt) -> object:
    """An input as JSON has it."""
    if isinstance(given, bytes):
        return hashlib.sha256(given).hexdigest()
    return [given.text, given.seed] if isinstance(given, Prompt) else given


def shuffled(examples: Iterable[Example]) -> list[Example]:
    """The examples in a seeded order that does not depend on the platform or on hash randomisation."""
    result = sorted(examples, key=lambda example: example.id)
    random.Random(SEED).shuffle(result)
    return result


def without_repeats(examples: Iterable[Example], seen: Iterable[Example] = ()) -> list[Example]:
    """The examples whose input occurs neither earlier nor in `seen`."""
    inputs = {example.input for example in seen}
    result = []
    for example in examples:
        if example.input not in inputs:
            inputs.add(example.input)
            result.append(example)
    return result


def first_words(text: str, count: int) -> str:
    """The first `count` blank-separated words of `text`, joined by single spaces."""
    return " ".join(text.split()[:count])
