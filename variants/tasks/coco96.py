"""COCO val2017, 96 photos: where is which of 80 things? For detectors that were trained on COCO.

The photos may not be copied into the project. `UNDERSTUDY_ZOO` names a folder of real data that has them, under
`detection/coco96`: `images/*.jpg` and `labels/*.txt`. A label file has a line for each box: class, then centre and size
as shares of the photo. The first 32 photos by name are for calibration, the others for the test, as the folder's
description says. There is no training split.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from variants.errors import SourceError
from variants.metrics.detection import METRICS
from variants.recipes.source import Source
from variants.tasks.base import Example, Split, Task
from variants.vision.boxes import Box, to_text

FOLDER = "UNDERSTUDY_ZOO"
_CALIBRATION = 32


class Coco96(Task):
    """JPEG photos; the label is the boxes as `variants.vision.boxes` writes them. `test` 64, `calibration` 32, `train`
    0."""

    name = "coco96"
    kind = "boxes"
    metrics = METRICS
    labels = (
        "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
        "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
        "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
        "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
        "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
        "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
        "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
        "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
        "hair drier", "toothbrush",
    )  # fmt: skip

    @property
    def sources(self) -> tuple[Source, ...]:
        """The folder. Raises SourceError where `UNDERSTUDY_ZOO` names none."""
        if not os.environ.get(FOLDER):
            mend = f"set {FOLDER} to the folder that holds detection/coco96"
            raise SourceError("coco96 is real data that no package carries", field="task", mend=mend)
        folder = Path(os.environ[FOLDER]).resolve() / "detection" / "coco96"
        return (Source(uri=str(folder), licence="CC-BY-4.0 (annotations; photos: their owners' Flickr terms)"),)

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        photos = sorted((files[0] / "images").glob("*.jpg"))
        examples = [self._example(photo, files[0] / "labels" / f"{photo.stem}.txt") for photo in photos]
        return {"calibration": examples[:_CALIBRATION], "test": examples[_CALIBRATION:], "train": []}

    def _example(self, photo: Path, boxes: Path) -> Example:
        from PIL import Image

        data = photo.read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
        lines = boxes.read_text().splitlines() if boxes.is_file() else []
        labelled = [self._box(line.split(), width, height) for line in lines if line.strip()]
        return Example(f"coco96-{photo.stem}", data, to_text(labelled))

    def _box(self, fields: Sequence[str], width: int, height: int) -> Box:
        """The box, in pixels, of a line's class, centre and size, which are shares of the photo."""
        x, y, wide, high = (float(field) for field in fields[1:5])
        left, top = (x - wide / 2) * width, (y - high / 2) * height
        return Box(self.labels[int(fields[0])], left, top, left + wide * width, top + high * height)
