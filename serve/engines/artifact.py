"""Where an engine's weights are and what its manifest says of them.

An engine trusts the folder it is given: hashes are verified where artifacts are opened, in the process
that starts the engine. A bare Hugging Face folder works too and simply has no manifest."""

from dataclasses import dataclass
from pathlib import Path

from variants.artifacts.manifest import MANIFEST, Manifest
from variants.errors import EngineError, SourceError


@dataclass(frozen=True)
class Artifact:
    """`model` is the folder with the weights; there is no manifest of a bare folder."""

    model: Path
    manifest: Manifest | None

    @property
    def digest(self) -> str | None:
        """The artifact's identity, 64 hex."""
        return None if self.manifest is None else self.manifest.digest


def open_built(folder: Path) -> tuple[Artifact, Manifest]:
    """As `open_artifact`, for an engine that cannot do without a manifest. EngineError where there is none."""
    artifact = open_artifact(folder)
    if artifact.manifest is None:
        raise EngineError(f"no manifest in {folder}", field="--artifact", mend="an artifact's folder")
    return artifact, artifact.manifest


def open_artifact(folder: Path) -> Artifact:
    """The artifact in `folder`: with a manifest in it, beside it, or without one.

    Raises SourceError where there is no such folder, InputError where the manifest is not one."""
    if not folder.is_dir():
        raise SourceError(f"no folder at {folder}", field="--artifact", mend="an artifact's folder")
    for home, model in ((folder, folder / "model"), (folder.parent, folder)):
        path = home / MANIFEST
        if path.is_file():
            return Artifact(model, Manifest.from_json(path.read_bytes(), str(path)))
    return Artifact(folder, None)
