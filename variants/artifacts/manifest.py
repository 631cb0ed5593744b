"""The manifest: what an artifact is, how it was built, and the hash of each of its files.

It is written last, so a folder without a manifest is not an artifact. `digest` identifies the artifact everywhere else
(`artifact_sha256`). `key` is the hash of its recipe and inputs, and is known before the build.

The digest covers the files, but not the manifest's precision, labels or preprocessing. So the file has a `seal`: the
sha256 of the canonical JSON of all other fields. A manifest that was edited is refused. The seal protects against
accidents, not against a person who computes it again. It is computed from the JSON in the file, not from the fields
that this version reads. So fields of later versions do not break it. Manifests of schema 1 have no seal and are read
unchanged: a rebuild of all artifacts would take hours and improve nothing.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from variants.artifacts.build_cost import BuildCost
from variants.artifacts.loss import Loss
from variants.document import Document, Name, Sha256, absent, canonical_sha256
from variants.errors import InputError
from variants.files import digest_of
from variants.recipes.recipe import Recipe
from variants.recipes.source import Source
from variants.vision.detector import Detector
from variants.vision.preprocess import Preprocess

MANIFEST = "manifest.json"
Bytes = bytes  # the manifest has a field of that name

TaskKind = Literal[
    "text-generation",
    "text-classification",
    "feature-extraction",
    "image-classification",
    "object-detection",
    "image-generation",
]
Precision = Literal["f32", "bf16", "f16", "fp8", "int8", "int8-dynamic", "int4", "nf4"]
Format = Literal["huggingface", "openvino", "adapter"]


class FileEntry(Document):
    """The hash and the size of one file."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Document):
    """The manifest of one artifact. `precision` is the one that the engine must execute, whatever its default. `bytes`
    is the size of the files that an engine loads. An artifact of format `adapter` is served on top of the artifact
    `parent_digest`. `commits` has the commit of each source from the hub, by its uri. `loss` is None where nothing was
    measured."""

    schema_: Literal[1, 2] = Field(2, alias="schema")
    key: Sha256
    digest: Sha256
    model: Name
    variant: Name
    task: TaskKind
    method: str
    precision: Precision
    recipe: Recipe
    seed: int
    parent: Name | None
    parent_digest: Sha256 | None
    sources: tuple[Source, ...]
    files: dict[str, FileEntry]
    bytes: Annotated[int, Field(ge=0)]
    versions: dict[str, str]
    created: AwareDatetime
    format: Format
    labels: tuple[str, ...] | None
    preprocess: Preprocess | None
    note: str
    detector: Detector | None = None
    effort: BuildCost | None = None
    commits: dict[str, str] = Field(default={}, exclude_if=lambda commits: not commits)
    loss: Loss | None = Field(default=None, exclude_if=absent)

    @staticmethod
    def digest_of_files(files: Mapping[str, FileEntry]) -> str:
        """The digest of an artifact: the sha256 of its sorted lines "name sha256"."""
        return digest_of({name: entry.sha256 for name, entry in files.items()})

    def to_json(self) -> Bytes:
        """Indented JSON in field order, with the seal."""
        document = {**self.model_dump(mode="json", by_alias=True), "schema": 2}
        return (json.dumps({**document, "seal": canonical_sha256(document)}, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: Bytes | str, origin: str) -> Self:
        """Parse a manifest. InputError names `origin`, and the first wrong field or the wrong seal."""
        try:
            document = json.loads(data)
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.get("schema") != 2:
            return super().from_json(data, origin)
        seal, actual = document.pop("seal", None), canonical_sha256(document)
        if seal != actual:
            raise InputError(f"{origin} was changed after it was written: its seal is {seal}, it hashes to {actual}")
        return super().from_json(json.dumps(document), origin)

    @model_validator(mode="after")
    def _digest_is_of_files(self) -> Self:
        actual = self.digest_of_files(self.files)
        if actual != self.digest:
            raise ValueError(f"digest: {self.digest} is named, the files hash to {actual}")
        return self
