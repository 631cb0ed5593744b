"""A task: say a colour in capitals. A task that reads files names them in `sources` and gets their paths in `_load`."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from variants.tasks import Example, Split, Task

WORDS = ("red", "orange", "yellow", "green", "blue", "violet", "black", "white", "grey", "brown", "pink", "cyan")


class Colours(Task):
    name = "colours"
    kind = "exact"  # a scorer of generated answers
    labels = ()
    sources = ()
    fields = MappingProxyType({"max_tokens": 4})

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        examples = [Example(f"colours-{word}", f"{word}", word.upper()) for word in WORDS]
        return {"train": examples[:2], "calibration": examples[2:4], "test": examples[4:]}
