"""Boxes from YOLO's text files: one a image with the same name, a line for each box.

A line is `class cx cy w h`: the number of the class, then centre and size as shares of the image. An image without a
file has no box.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from variants.errors import InputError
from variants.tasks.data.boxes_in_image import box_in
from variants.tasks.data.image_files import images_in, size_of
from variants.vision.boxes import Box


def read_yolo(labels: Path, images: Path, classes: Sequence[str] | Path | None) -> Iterator[Mapping[str, Any]]:
    """A row for each image: `image`, its bytes; `label`, its boxes; `file`, its path below `images`. Without `classes`
    a class is called by its number. Raises InputError, which names the file and the line."""
    names = classes_in(classes) if isinstance(classes, Path) else classes
    if not labels.is_dir():
        raise InputError(f"{labels} is no folder of YOLO's text files", field="data.uri", mend="name the folder")
    paths = images_in(images)
    files = {path.relative_to(images).with_suffix(".txt") for path in paths}
    own = classes.resolve() if isinstance(classes, Path) else None
    for text in sorted(labels.rglob("*.txt")):
        if text.relative_to(labels) not in files and text.resolve() != own:
            mend = "add the image, or remove the file; a file with the names of classes is data.classes"
            raise InputError(f"{text} has no image in {images}", field="data", mend=mend)
    if not any((labels / file).is_file() for file in files):
        raise InputError(f"{labels} has no file for any image in {images}", field="data", mend="check both folders")
    for path in paths:
        text = labels / path.relative_to(images).with_suffix(".txt")
        data = path.read_bytes()
        try:
            size = size_of(data)
        except ValueError as error:
            raise InputError(f"{path}: {error}", field="data", mend="remove the file") from None
        lines = lines_of(text) if text.is_file() else []
        boxes = [read_line(text, number, line, size, names) for number, line in enumerate(lines, 1) if line.strip()]
        yield {"image": data, "label": boxes, "file": path.relative_to(images)}


def yolo_folders(folder: Path) -> tuple[Path, Path]:
    """The folders of the text files and of the images, in the layout of YOLO's tools: `labels/train` and
    `images/train`, below the folder or in its path. The folder itself twice where it has no such layout."""
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    parts = labels.parts
    at = max((number for number, part in enumerate(parts) if part == "labels"), default=None)
    images = labels if at is None else Path(*parts[:at], "images", *parts[at + 1 :])
    return (labels, images) if images.is_dir() else (folder, folder)


def read_line(path: Path, number: int, line: str, size: tuple[int, int], names: Sequence[str] | None) -> Box:
    try:
        kind, *shares = line.split()
        if len(shares) != 4:
            raise ValueError(f"{1 + len(shares)} fields, not the five of `class cx cy w h`")
        if not kind.isdecimal():
            raise ValueError(f"the class {kind!r} is no number")
        if names is not None and int(kind) >= len(names):
            raise ValueError(f"there is no class {kind}: classes are 0 to {len(names) - 1}")
        x, y, wide, high = map(float, shares)
        left, top = (x - wide / 2) * size[0], (y - high / 2) * size[1]
        label = names[int(kind)] if names is not None else str(int(kind))
        return box_in(label, left, top, wide * size[0], high * size[1], size)
    except ValueError as error:
        message = f"{path}, line {number}: {error}"
        raise InputError(message, field="data", mend="correct or remove the line") from None


def classes_in(path: Path) -> list[str]:
    """The names of classes in a file, one a line. Raises InputError for an empty name, and for one that occurs
    twice."""
    names = [line.strip() for line in lines_of(path)]
    if not names or not all(names) or len(set(names)) < len(names):
        message = f"{path}: a name is empty or occurs twice" if names else f"{path} is empty"
        raise InputError(message, field="data.classes", mend="give each class one name, one a line")
    return names


def lines_of(path: Path) -> list[str]:
    """Raises InputError for a file that is no text."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is no text: {error}", field="data", mend="write it as UTF-8") from None
