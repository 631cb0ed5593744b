"""The base class of tasks: named, labelled examples in three splits that never change.

The order within a split is a seeded shuffle, so the first n examples are a random sample of it. No input in `test`
occurs in the two other splits, under any id.
"""

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from variants.document import canonical_sha256
from variants.home import home as default_home
from variants.metrics.base import ACCURACY, Metric
from variants.metrics.harness import Harness
from variants.metrics.kinds import Generated, OtherKind
from variants.plugins import Plugin
from variants.progress import Progress
from variants.recipes.source import Source, fetch

Split = Literal["train", "calibration", "test"]
Kind = OtherKind | Generated
SEED = 20261123


@dataclass(frozen=True)
class Prompt:
    """What to draw, and the seed of the noise that it is drawn from. Every variant gets the same seed."""

    text: str
    seed: int


@dataclass(frozen=True)
class Chat:
    """The messages of a conversation, each its role and its text. The engine writes them in its model's template."""

    messages: tuple[tuple[str, str], ...]


Input = str | bytes | tuple[str, ...] | Prompt | Chat


@dataclass(frozen=True)
class Example:
    """The kind of the task says what `input` is:

    text      a whole prompt                        boxes     a PNG or JPEG
    article   a text to classify                    choice    a context and its possible endings
    image     a PNG                                 passage   plain text
    ranked    a PNG or JPEG                         drawing   a `Prompt`
    triplet   three texts                           pair      two texts
    harness   a prompt of lm-evaluation-harness     picture   a `Prompt`

    Of the other kinds, which are names of scorers, it is a prompt or a `Chat` whose answer is generated. `label` is one
    of the task's labels. For boxes it is the text that `variants.vision.boxes` writes, for a pair a number, for a
    passage or a picture "".
    """

    id: str
    input: Input
    label: str


class Task(ABC):
    """A task. `kind` says how its examples are asked and scored; "ranked" is an image whose label must be among the
    first five. `metrics` are computed from its outcomes; the task is judged by the first of them."""

    name: str
    kind: Kind
    metrics: tuple[Metric, ...] = (ACCURACY,)
    fields: Mapping[str, object] = MappingProxyType({})
    """More fields of each request, such as the number of tokens to generate."""
    harness: Harness | None = None
    """For a task of lm-evaluation-harness, which asks and scores its samples itself."""
    definition_sha256: str | None = None
    """Of what makes examples of the data, for a task that a user defines. None for the others: their code is fixed."""
    made_by: tuple[str, ...] = ()
    """The plug-ins that define or score it, with their versions (`variants.plugins`)."""
    plugin: Plugin | None = None
    """The entry point whose code it is."""
    scoring: str | None = None
    """How generated answers are asked for and scored, for a task that a user defines."""

    def __init__(self, home: Path | None = None, progress: Progress | None = None) -> None:
        self._home = home or default_home()
        self._progress = progress

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """All labels. A class attribute where they are always the same."""

    @property
    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """Where its data comes from. It is a class attribute where that is always the same."""

    def examples(self, split: Split, n: int | None = None) -> list[Example]:
        """The first `n` examples of a split, or all. Raises ValueError where it holds fewer, or does not exist."""
        if split not in self._splits:
            raise ValueError(f"{self.name} has no split {split!r}: train, calibration or test")
        examples = self._splits[split]
        if n is not None and n > len(examples):
            raise ValueError(f"{self.name} has {len(examples)} examples in its {split} split, not {n}")
        return list(examples[:n])

    @cached_property
    def test_sha256(self) -> str:
        """sha256 of the test split's ids, inputs and labels, of `made_by` and of `scoring`. Outcomes are valid for this
        split alone: a prompt's wording, or data that a user names, may change while the task's name stays."""
        split = [[each.id, _plain(each.input), each.label] for each in self.examples("test")]
        return canonical_sha256([*split, *self.made_by, *([self.scoring] if self.scoring else [])])

    @cached_property
    def _splits(self) -> dict[Split, Sequence[Example]]:
        called = self.plugin.called if self.plugin else lambda _: nullcontext()
        with called("cannot say its sources"):
            sources = self.sources
        files = [fetch(source, self._home, self._progress) for source in sources]
        with called("cannot read its examples"):
            return self._load(files)

    @abstractmethod
    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        """All splits, read from the files of `sources`, which have the same order."""


def _plain(given: Input) -> object:
    """An input as JSON can hold it."""
    if isinstance(given, bytes):
        return hashlib.sha256(given).hexdigest()
    if isinstance(given, Chat):
        return [list(message) for message in given.messages]
    return [given.text, given.seed] if isinstance(given, Prompt) else given


def shuffled(examples: Iterable[Example]) -> list[Example]:
    """The examples in a seeded order, the same on every platform."""
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
