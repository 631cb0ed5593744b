"""Image files: those of a folder, and one by the path that a row names."""

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import regex

from variants.errors import InputError
from variants.tasks.data.definition import SPLITS

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SPLIT_NAMES = SPLITS.keys() | {"val", "testing"}
LIMIT_S = 0.1
"""Of matching one name: a regular expression may take exponential time."""


def images_in(folder: Path) -> list[Path]:
    """The image files below a folder, in order. Raises InputError for a folder without one."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of images", field="data", mend="name the folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        others = sorted(path.name for path in folder.iterdir() if path.is_file())[:3]
        mend = f"name one of {', '.join(others)}" if others else f"files that end in {', '.join(SUFFIXES)}"
        raise InputError(f"{folder} has no image", field="data", mend=mend)
    return paths


def images_by_folder(folder: Path) -> Iterator[Mapping[str, Any]]:
    """A row for each image of a folder: `image`, and `label`, the name of the folder that it lies in.

    Raises InputError for images that lie in no folder of their own, and for folders of splits: each of these is data of
    its own."""
    paths = images_in(folder)
    parts = {path.relative_to(folder).parts[0] for path in paths if path.parent != folder}
    if parts and {part.lower() for part in parts} <= SPLIT_NAMES:
        shown = ", ".join(sorted(parts))
        mend = f"name one of them, or splits: {{train: {folder}/..., test: {folder}/...}}"
        raise InputError(f"{folder} has the folders {shown}, which are splits and no labels", field="data", mend=mend)
    if alone := next((path for path in paths if path.parent == folder), None):
        mend = "move it into a folder of its label, or name a pattern of the names: name_pattern"
        raise InputError(f"{alone}: the images are not in folders, one a label", field="data", mend=mend)
    for path in paths:
        yield {"image": path.read_bytes(), "label": path.parent.name, "file": path.relative_to(folder)}


def named_images(folder: Path, pattern: str) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    """The columns and rows of a folder whose files' names say what they are: `image`, and the pattern's named groups.

    Raises InputError for a name that the pattern does not match as a whole."""
    compiled = regex.compile(pattern)

    def rows() -> Iterator[Mapping[str, Any]]:
        for path in images_in(folder):
            try:
                match = compiled.fullmatch(path.name, timeout=LIMIT_S)
            except TimeoutError:
                message = f"{path}: name_pattern takes longer than {LIMIT_S} s"
                raise InputError(message, field="data.name_pattern", mend="write a simpler one") from None
            if match is None:
                message = f"{path}: its name does not match name_pattern"
                raise InputError(message, field="data.name_pattern", mend="rename or remove the file")
            yield {"image": path.read_bytes(), "file": path.relative_to(folder), **match.groupdict()}

    return ["image", *compiled.groupindex], rows()


def image_at(folder: Path, name: str) -> bytes:
    """The bytes of the image that a row names by its path below `folder`. ValueError where there is none."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} is not below {folder}")
    if not path.is_file():
        raise ValueError(f"there is no image {path}")
    return path.read_bytes()


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image as it is shown, in pixels. ValueError for other bytes."""
    from PIL import ExifTags, Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
            with suppress(Exception):  # damaged EXIF; engines ignore it too
                if opened.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8):  # it lies on its side
                    return height, width
            return width, height
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise ValueError("no image that can be read") from None
