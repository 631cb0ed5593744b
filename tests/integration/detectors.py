"""A small detector and its variants with tiny budgets, built once a session; the digits are the project's own."""

from pathlib import Path
from typing import Any

from serve.config.artifacts import build_stack
from serve.config.loader import load
from serve.config.stack import Stack
from tests.support.processes import ROOT
from variants.artifacts.store import Artifact
from variants.home import home, sources_of
from variants.recipes.source import fetch

TRAIN = {
    "kind": "train-detector", "task": "scenes", "examples": 1200, "epochs": 1, "batch": 16, "learning_rate": 0.006,
    "image_size": 96, "width": 32,
}  # fmt: skip
SMALLER: dict[str, dict[str, Any]] = {
    "baseline": TRAIN,
    "int8": {"kind": "quantize", "scheme": "int8", "calibration": {"task": "scenes", "examples": 32}},
    "pruned": {
        "kind": "prune", "structure": "channels", "sparsity": 0.5,
        "recovery": {"task": "scenes", "examples": 160, "epochs": 1, "batch": 16},
    },
}  # fmt: skip


def small_stack(port: int = 8000) -> Stack:
    """The family's own stack with small budgets."""
    document = load(ROOT / "deploy" / "stacks" / "object-detection.yaml").model_dump(mode="json", by_alias=True)
    document["server"]["port"] = port
    for name, recipe in SMALLER.items():
        document["models"]["scenes"]["variants"][name]["recipe"] = recipe
    return Stack.model_validate(document)


def share_sources(folder: Path, stack: Stack) -> None:
    """Have the home in `folder` use what the project's own has fetched."""
    for model in stack.models.values():
        fetch(model.source, home())
    (folder / "sources").symlink_to(sources_of(home()).resolve())


def build_small(stack: Stack) -> dict[str, Artifact]:
    """By variant, in the home of the moment."""
    return {variant: artifact for (_, variant), artifact in build_stack(stack).items()}
