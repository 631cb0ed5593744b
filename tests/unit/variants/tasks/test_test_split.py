"""What says that a test split is the same: its ids, inputs and labels, and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from variants.recipes.source import Source
from variants.tasks import Example, Prompt, Split, Task

ASKED: Sequence[Example] = (
    Example("1", "a text", "a"), Example("2", b"\x89PNG", "b"), Example("3", ("one", "two"), "c"),
    Example("4", Prompt("a five", 7), "5"),
)  # fmt: skip


class Given(Task):
    name: ClassVar[str] = "given"
    kind: ClassVar[Literal["text"]] = "text"
    labels: ClassVar[tuple[str, ...]] = ("a", "b", "c", "5")
    sources: ClassVar[tuple[Source, ...]] = ()

    def __init__(self, test: Sequence[Example], train: Sequence[Example] = ()) -> None:
        super().__init__(Path())
        self.given: dict[Split, Sequence[Example]] = {"train": train, "test": test}

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return self.given


def test_equal_splits_are_equal_whatever_they_are_trained_on() -> None:
    digest = Given(ASKED).test_sha256
    assert len(digest) == 64
    assert digest == Given(list(ASKED), ASKED[:1]).test_sha256


@pytest.mark.parametrize(
    "changed",
    [
        ASKED[:3],
        ASKED[::-1],
        (Example("0", "a text", "a"), *ASKED[1:]),
        (Example("1", "another wording", "a"), *ASKED[1:]),
        (Example("1", "a text", "b"), *ASKED[1:]),
        (ASKED[0], Example("2", b"\x89PNH", "b"), *ASKED[2:]),
        (*ASKED[:3], Example("4", Prompt("a five", 8), "5")),
    ],
)
def test_another_split_is_another(changed: Sequence[Example]) -> None:
    assert Given(changed).test_sha256 != Given(ASKED).test_sha256
