"""ImageNet: which of a thousand things does a photograph show? On photographs of the user's own, as no package may
carry them.

`UNDERSTUDY_IMAGENET` names a folder of files called `CCCC_wnid_name.jpg`: the class's index in four digits, its WordNet
id, anything. Index and id are held against each other, so that a folder numbered in another way is refused and not
mistaken for a bad model. Classes whose index is a multiple of 20 calibrate, all others test; there is none to train on.

Published weights may have seen such photographs: they tell variants apart, and are no measure of a model by itself.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from variants.errors import InputError
from variants.recipes.source import Source
from variants.tasks.base import Example, Split, Task, shuffled, without_repeats

SETTING = "UNDERSTUDY_IMAGENET"
MOST = 10_000
"""Photographs, which are all held in memory."""
_NAME = re.compile(r"(?P<index>\d{4})_(?P<wnid>n\d{8})_.*\.(jpe?g|png)", re.IGNORECASE)
_CALIBRATES = 20
_MEND = "files named like 0000_n01440764_tench.jpg"

LABELS = tuple(Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
"""A thousand times a WordNet id and the first of its names, "n01440764 tench", in the order of the index."""


class Imagenet(Task):
    """`test` and `calibration` share no class; `train` is empty."""

    name = "imagenet"
    kind: ClassVar[Literal["image", "ranked"]] = "image"
    labels = LABELS

    @property
    def sources(self) -> tuple[Source, ...]:
        """The folder that the setting names. InputError where it names none."""
        folder = os.environ.get(SETTING)
        if not folder:
            raise InputError("names no folder of ImageNet photographs", field=SETTING, mend=_MEND)
        return (Source(uri=str(Path(folder).expanduser().resolve()), licence="LicenseRef-ImageNet-research"),)

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        photos = sorted(files[0].iterdir()) if files[0].is_dir() else []
        if not 0 < len(photos) <= MOST:
            raise InputError(f"{files[0]} holds {len(photos)} photographs", field=SETTING, mend=f"1 to {MOST} {_MEND}")
        read = [_example(path) for path in photos]
        test = without_repeats(example for index, example in read if index % _CALIBRATES)
        calibration = without_repeats((example for index, example in read if not index % _CALIBRATES), seen=test)
        return {"test": shuffled(test), "calibration": shuffled(calibration), "train": []}


class ImagenetTop5(Imagenet):
    """The same photographs; right is who has the label among the first five."""

    name = "imagenet_top5"
    kind = "ranked"


def _example(path: Path) -> tuple[int, Example]:
    """The class's index and the example. InputError when the file's name is of another form, or contradicts itself."""
    match = _NAME.fullmatch(path.name)
    if not match or not path.is_file():
        raise InputError(f"{path} is not named as a photograph of ImageNet", field=SETTING, mend=_MEND)
    index = int(match["index"])
    if index >= len(LABELS) or not LABELS[index].startswith(match["wnid"]):
        right = LABELS[index].split()[0] if index < len(LABELS) else f"none: there are {len(LABELS)}"
        raise InputError(f"{path}: class {index} is {right}, not {match['wnid']}", field=SETTING, mend=_MEND)
    return index, Example(f"imagenet-{path.stem}", path.read_bytes(), LABELS[index])
