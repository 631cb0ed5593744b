"""How does a piece of a tale go on? Two endings, judged by likelihood: multiple choice made of plain text.

One ending is the 8 words that really follow the 24 words before. The other is the same 8 words of another piece of the
same tale, so the people and things in it do not decide. HellaSwag (Zellers et al. 2019, arXiv 1905.07830) is made in
the same way, but with adversarial endings, so it is harder. Chance is 50 %. The pieces are short because each ending
costs a pass over all of its tokens.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from variants.tasks.base import SEED, Example, Split, Task, shuffled
from variants.tasks.tales import Tale, Tales, tales_of

_BEGINNING, _ENDING = 24, 8


class TaleEndings(Task):
    """`input`: the beginning and two endings. The label is the position, from "0", of the true one. Splits are those of
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
    """One for each piece of the tale, none where all pieces end alike or there is only one."""
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
