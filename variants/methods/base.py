"""What a method is given and what it gives back."""

from dataclasses import dataclass
from pathlib import Path

from variants.artifacts.manifest import Format, Precision
from variants.artifacts.store import Artifact
from variants.progress import Progress
from variants.recipes.recipe import Recipe
from variants.vision.detector import Detector
from variants.vision.preprocess import Preprocess


@dataclass(frozen=True)
class BuildJob:
    """One recipe to carry out. Exactly one of `source` (a verified file or folder) and `parent` is there; both are read
    only. `base` is what a parent that is an adapter was trained on. The method writes below `out`, which becomes the
    artifact's `model/`, and fetches data into `home`."""

    recipe: Recipe
    seed: int
    source: Path | None
    parent: Artifact | None
    out: Path
    home: Path
    progress: Progress
    base: Artifact | None = None


@dataclass(frozen=True)
class MethodResult:
    """What a method made, for the manifest. `served` names the files below `out` that an engine loads; empty means
    all. `packages` are the distributions whose versions shaped the result. `note` says where the weights come
    from."""

    precision: Precision
    format: Format
    note: str
    packages: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    served: tuple[str, ...] = ()
    detector: Detector | None = None
