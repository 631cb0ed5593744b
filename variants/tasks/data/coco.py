"""Boxes from COCO's JSON: `images` with their file names, `annotations` with boxes (x, y, width, height in pixels), and
`categories` with the names of classes (Lin et al. 2014, arXiv 1405.0312).

A crowd, one box around many things, is refused: the metrics of `variants.metrics.detection` know none, and would count
it as one thing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from variants.document import explain
from variants.errors import InputError
from variants.tasks.data.boxes_in_image import box_in
from variants.tasks.data.image_files import image_at, size_of

Corner = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""


class Entry(BaseModel):
    """Other keys, such as outlines, are not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Picture(Entry):
    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class Annotation(Entry):
    image_id: int
    category_id: int
    bbox: Corner
    iscrowd: int = 0


class Category(Entry):
    id: int
    name: str


class Instances(Entry):
    images: tuple[Picture, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]


def read_coco(path: Path, images: Path) -> Iterator[Mapping[str, Any]]:
    """A row for each image: `image`, its bytes; `label`, its boxes; `file`, its path below `images`. Raises InputError,
    which names the file and the entry."""
    try:
        document = Instances.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        where = explain(error) if isinstance(error, ValidationError) else None
        reason = f"{where.field or 'the file'}: {where.message}" if where else str(error)
        raise InputError(f"{path} is no annotation file of COCO: {reason}", field="data", mend="correct it") from None
    boxes = boxes_by_image(path, document)
    for number, picture in enumerate(document.images):
        try:
            data = image_at(images, picture.file_name)
            size = size_of(data)
            if (picture.width or size[0], picture.height or size[1]) != size:
                stated = f"{picture.width} x {picture.height}"
                raise ValueError(f"{picture.file_name} has {size[0]} x {size[1]} pixels, not {stated}")
        except ValueError as error:
            raise refused(path, "images", number, f"{picture.file_name}: {error}") from None
        label = []
        for at, name, (left, top, width, height) in boxes[picture.id]:
            try:
                label.append(box_in(name, left, top, width, height, size))
            except ValueError as error:
                raise refused(path, "annotations", at, f"{error} ({picture.file_name})") from None
        yield {"image": data, "label": label, "file": Path(picture.file_name)}


def boxes_by_image(path: Path, document: Instances) -> Mapping[int, list[tuple[int, str, Corner]]]:
    """For each image's id the position of each annotation, its class and its box."""
    names = {category.id: category.name for category in document.categories}
    if len(set(names.values())) < len(document.categories):
        raise InputError(f"{path}: two categories have the same id or name", field="data", mend="give each its own")
    known = {picture.id for picture in document.images}
    if len(known) < len(document.images):
        raise InputError(f"{path}: two images have the same id", field="data", mend="give each its own")
    boxes: dict[int, list[tuple[int, str, Corner]]] = defaultdict(list)
    for at, each in enumerate(document.annotations):
        if each.iscrowd:
            raise refused(path, "annotations", at, "is a crowd, which no metric here knows")
        if each.image_id not in known:
            raise refused(path, "annotations", at, f"there is no image {each.image_id}")
        if each.category_id not in names:
            raise refused(path, "annotations", at, f"there is no category {each.category_id}")
        boxes[each.image_id].append((at, names[each.category_id], each.bbox))
    return boxes


def refused(path: Path, part: str, at: int, reason: str) -> InputError:
    return InputError(f"{path}, {part}[{at}]: {reason}", field="data", mend="correct or remove the entry")
