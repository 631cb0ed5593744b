"""ImageNet: which of a thousand things does a photograph show? The user provides the photographs: no package may have
them.

`UNDERSTUDY_IMAGENET` names a folder of files called `CCCC_wnid_name.jpg`: the class's index in four digits, its WordNet
id, any name. The index must fit the id, so a folder with another numbering is refused, and does not look like a bad
model. Classes whose index is a multiple of 20 are for calibration, all others for the test. There is no training split.

Published weights may be trained on such photographs. The task can compare variants, but it does not measure a model by
itself.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from variants.errors import InputError
from variants.recipes.source import Source
from variants.tasks.base import Example, Kind, Split, Task, shuffled, without_repeats

SETTING = "UNDERSTUDY_IMAGENET"
MOST = 10_000
"""Most photographs, because all are held in memory."""
_NAME = re.compile(r"(?P<index>\d{4})_(?P<wnid>n\d{8})_.*\.(jpe?g|png)", re.IGNORECASE)
_CALIBRATES = 20
_MEND = "files named like 0000_n01440764_tench.jpg"

LABELS = tuple(Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
"""For each of the 1,000 classes, in order: its WordNet id and the first of its names, "n01440764 tench"."""


class Imagenet(Task):
    """`test` and `calibration` share no class; `train` is empty."""

    name = "imagenet"
    kind: Kind = "image"
    labels = LABELS

    @property
    def sources(self) -> tuple[Source, ...]:
        """The folder that the setting names. Raises InputError where it names none."""
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
    """The same photographs. An answer is right if the label is among the first five."""

    name = "imagenet_top5"
    kind = "ranked"


def _example(path: Path) -> tuple[int, Example]:
    """The class's index and the example. Raises InputError for a file's name of another form, or of another class."""
    match = _NAME.fullmatch(path.name)
    if not match or not path.is_file():
        raise InputError(f"{path} is not named as a photograph of ImageNet", field=SETTING, mend=_MEND)
    index = int(match["index"])
    if index >= len(LABELS) or not LABELS[index].startswith(match["wnid"]):
        right = LABELS[index].split()[0] if index < len(LABELS) else f"none: there are {len(LABELS)}"
        raise InputError(f"{path}: class {index} is {right}, not {match['wnid']}", field=SETTING, mend=_MEND)
    return index, Example(f"imagenet-{path.stem}", path.read_bytes(), LABELS[index])
