"""How does a piece of a tale go on? Two endings, judged by likelihood: multiple choice made of plain text.

After 24 words come their own next 8, or 8 that stand in the same place of another piece of the same tale, so that its
people and things do not give it away. Made as HellaSwag is (Zellers et al. 2019, arXiv 1905.07830), but with endings
that somebody wrote for another place instead of adversaries: easier than it. Chance is 50 %. The pieces are short
because each ending costs a pass over all of its tokens.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from variants.tasks.base import SEED, Example, Split, Task, shuffled
from variants.tasks.tales import Tale, Tales, tales_of

_BEGINNING, _ENDING = 24, 8


class TaleEndings(Task):
    """`input`: the beginning and two endings; the label is the place of its own, from "0". Splits are those of
    `tales`."""

    name = "tale_endings"
    kind = "choice"
    labels = ("0", "1")
    sources = Tales.sources

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return {
            split: shuffled(choice for tale in tales for choice in _choices(tale))
            for split, tales in tales_of(files[0]).items()
        }


def _choices(tale: Tale) -> Iterator[Example]:
    """One a piece; none of a tale too short for two."""
    pieces = tale.pieces(_BEGINNING + _ENDING)
    draw = random.Random(f"{SEED} {tale.id}")
    for number, piece in enumerate(pieces):
        own = _ending(piece)
        others = sorted({_ending(each) for each in pieces} - {own})
        if not others:
            continue
        place = draw.randrange(2)
        endings = [draw.choice(others)]
        endings.insert(place, own)
        yield Example(f"{tale.id}-{number:03d}", (" ".join(piece[:_BEGINNING]), *endings), str(place))


def _ending(piece: Sequence[str]) -> str:
    return " " + " ".join(piece[_BEGINNING:])
