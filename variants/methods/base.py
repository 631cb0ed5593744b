"""What a method is given, and what it returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from typing_extensions import TypeVar

from variants.artifacts.loss import Kept, Loss
from variants.artifacts.manifest import Format, Precision
from variants.artifacts.store import Artifact
from variants.progress import Progress
from variants.recipes.recipe import Recipe
from variants.tasks import BUILT_IN, Tasks
from variants.vision.detector import Detector
from variants.vision.preprocess import Preprocess

RecipeT = TypeVar("RecipeT", covariant=True, default=Recipe)


@dataclass(frozen=True)
class BuildJob(Generic[RecipeT]):
    """One recipe to carry out. `source` (a verified file or folder) or `parent` is given, both for a method that starts
    from both. They are read-only. `base` is the artifact that a parent adapter was trained on. `tasks` has the recipe's
    tasks. The method writes below `out`, which becomes the artifact's `model/`, and downloads data into `home`. A
    method names the recipe that it takes: `BuildJob[Quantize]`. `evaluate` names the tasks that the model is evaluated
    on: the loss is measured on their calibration splits where the recipe names no task. `unfinished` is the place of
    a folder that outlives a build that is interrupted: the next one of the same key finds there what a method left."""

    recipe: RecipeT
    seed: int
    source: Path | None
    parent: Artifact | None
    out: Path
    home: Path
    progress: Progress
    base: Artifact | None = None
    tasks: Tasks = BUILT_IN
    evaluate: tuple[str, ...] = ()
    unfinished: Path | None = None


@dataclass(frozen=True)
class MethodResult:
    """What a method made, for the manifest. `served` names the files below `out` that an engine loads; empty means
    all. `packages` are the distributions whose versions influenced the result. `note` says where the weights come
    from. `loss` is what the method measured itself; otherwise the builder measures it. `kept` are the layers that
    `keep: auto` left in 16 bits."""

    precision: Precision
    format: Format
    note: str
    packages: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    served: tuple[str, ...] = ()
    detector: Detector | None = None
    loss: Loss | None = None
    kept: Kept | None = None
