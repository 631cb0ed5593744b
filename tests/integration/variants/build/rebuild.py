"""`python -m tests.integration.variants.build.rebuild HOME TEXT IMAGE`: builds every row of `ROWS` once, in a process
of its own, as two users would: what a library counts or caches in one process would hide what differs between two."""

import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import TaskKind
from variants.artifacts.store import Store
from variants.build.builder import VariantPlan, build
from variants.recipes.source import Source


class Row(NamedTuple):
    """A recipe for the tiny text or image model, and the files below `model/` that differ from build to build."""

    recipe: dict[str, object]
    differing: tuple[str, ...] = ()
    parent: str | None = "baseline"


TEXT: dict[str, Row] = {
    "baseline": Row({"kind": "baseline", "dtype": "bfloat16"}, parent=None),
    "w8a8": Row({"kind": "quantize", "scheme": "w8a8"}),
    "w8a8-gptq": Row(
        {
            "kind": "quantize", "scheme": "w8a8", "algorithm": "gptq", "smoothing": 0.5,
            "calibration": {"task": "rotten_tomatoes", "examples": 8},
        }
    ),
    "nf4": Row({"kind": "quantize", "scheme": "nf4"}),
}  # fmt: skip
IMAGE: dict[str, Row] = {
    "baseline": Row({"kind": "baseline", "dtype": "float32"}, parent=None),
    "train": Row(
        {
            "kind": "train", "task": "mnist", "architecture": "huggingface", "examples": 64, "epochs": 1, "batch": 16,
            "image_size": 32,
        },
        parent=None,
    ),
    "bf16": Row({"kind": "quantize", "scheme": "bf16"}),
    "int8": Row({"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 16}}),
}  # fmt: skip
ROWS: dict[tuple[TaskKind, str], Row] = {
    **{("text-generation", name): row for name, row in TEXT.items()},
    **{("image-classification", name): row for name, row in IMAGE.items()},
}


def plans(text: Path, image: Path) -> list[VariantPlan]:
    """One model a task, named like it; one variant a row."""
    folders = {"text-generation": text, "image-classification": image}
    return [
        VariantPlan(
            task, name, task, Source(uri=str(folders[task]), licence="Apache-2.0"), parse_recipe(row.recipe), row.parent
        )
        for (task, name), row in ROWS.items()
    ]


if __name__ == "__main__":
    home = Path(sys.argv[1])
    build(plans(Path(sys.argv[2]), Path(sys.argv[3])), Store(home), Catalog(home))
