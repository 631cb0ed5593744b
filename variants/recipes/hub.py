"""Fetches repositories, or single files of them, from the hub, and keeps each at the commit of its first fetch.

`HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean what they mean to huggingface_hub, which does the downloads. The
commit is kept in the cache as huggingface_hub keeps it: `models--ORG--NAME/refs/REVISION`. Here that file is a pin: a
later fetch of the same name takes the same commit. Another revision in the source, or the removal of that file, asks
for another commit.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from variants.errors import SourceError

# Hub repositories hold the same weights in many formats. Only safetensors and the files beside it are needed.
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
HUB_PICKLES = ("*.bin",)
HUB_IR = ("*.xml",)
"""The other file of an OpenVINO IR is a .bin too."""
DATA_FILES = ("*.parquet", "*.csv", "*.tsv", "*.json", "*.jsonl", "*.txt")
DATA_CARD = "README.md"
"""Its head may say which files belong to which configuration and split."""
T = TypeVar("T")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubName(NamedTuple):
    """A repository of the hub, its branch, tag or commit if one is named, and one file of it if only that is wanted."""

    repo: str
    revision: str | None = None
    file: str | None = None
    repo_type: Literal["model", "dataset"] = "model"


def fetch_from_hub(name: HubName, cache: Path, uri: str) -> Path:
    """The local folder of the repository's files, or the local file. `cache` is in the hub's layout. Raises SourceError
    that names `uri`."""
    from huggingface_hub import hf_hub_download

    commit = pinned(name, cache) or _asked(lambda: _resolve(name, cache), name, uri)
    file = name.file
    if file is not None:
        # Beside the folders: a file that came alone would be in the hash of its repository's folder.
        own = cache.with_name("hub-files")
        return _asked(lambda: Path(hf_hub_download(name.repo, file, revision=commit, cache_dir=own)), name, uri)
    if name.repo_type == "dataset":
        path = _asked(lambda: _snapshot(name, commit, cache, (*DATA_FILES, DATA_CARD)), name, uri)
        if not any(any(path.rglob(pattern)) for pattern in DATA_FILES):
            known = ", ".join(DATA_FILES)
            raise SourceError(f"{uri} has no file that is read", field="source.uri", mend=f"files are {known}")
        return path
    path = _asked(lambda: _snapshot(name, commit, cache, HUB_FILES), name, uri)
    if any(path.rglob("*.safetensors")):
        return path
    return _asked(lambda: _snapshot(name, commit, cache, (*HUB_FILES, *HUB_PICKLES, *HUB_IR)), name, uri)


def pinned(name: HubName, cache: Path) -> str | None:
    """The commit that the name stands for here; None before its first fetch."""
    if name.revision and _COMMIT.fullmatch(name.revision):
        return name.revision
    pin = cache / f"{name.repo_type}s--{name.repo.replace('/', '--')}" / "refs" / (name.revision or "main")
    commit = pin.read_text().strip() if pin.is_file() else ""
    return commit if _COMMIT.fullmatch(commit) else None


def _resolve(name: HubName, cache: Path) -> str:
    """Ask the hub for the commit. huggingface_hub writes it to the cache."""
    from huggingface_hub import resolve_revision

    return resolve_revision(name.repo, repo_type=name.repo_type, revision=name.revision, cache_dir=cache).resolved


def _snapshot(name: HubName, commit: str, cache: Path, patterns: tuple[str, ...]) -> Path:
    """The files of these patterns. Where the hub cannot be reached, those of the cache."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    def take(offline: bool) -> Path:
        allowed = list(patterns)
        return Path(
            snapshot_download(
                name.repo, repo_type=name.repo_type, revision=commit, cache_dir=cache, allow_patterns=allowed,
                local_files_only=offline,
            )
        )  # fmt: skip

    try:
        return take(False)
    except (httpx.TransportError, OfflineModeIsEnabled) as error:
        try:
            return take(True)
        except LocalEntryNotFoundError:
            raise error from None


def _asked(ask: Callable[[], T], name: HubName, uri: str) -> T:
    """What `ask` gives. Raises SourceError that says which of the usual reasons a failure has."""
    import httpx
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, RevisionResolutionError

    try:
        return ask()
    except (
        HfHubHTTPError, EntryNotFoundError, HFValidationError, RevisionResolutionError, httpx.TransportError, OSError,
    ) as error:  # fmt: skip
        why, mend = _reason(error, name)
        raise SourceError(f"{uri} could not be fetched from the hub: {why}", field="source.uri", mend=mend) from error


def _reason(error: Exception, name: HubName) -> tuple[str, str]:
    """Why a fetch failed, and the mend."""
    import httpx
    from huggingface_hub import constants, errors

    chain = list(_causes(error))

    def has(*kinds: type[Exception]) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if has(errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{name.repo}"
        return f"{name.repo} is gated", f"ask for access at {page}, and set HF_TOKEN to a token of that account"
    if has(errors.RepositoryNotFoundError):
        return f"there is no repository {name.repo}, or it is private", "check the id; a private one needs HF_TOKEN"
    if has(errors.RevisionNotFoundError):
        revision = name.revision or "main"
        return f"{name.repo} has no revision {revision!r}", "name a branch, a tag or a commit of it"
    if has(errors.RemoteEntryNotFoundError):
        return f"{name.repo} has no file {name.file}", "name a file of that repository"
    if constants.HF_HUB_OFFLINE:
        return "it is not in the cache, and HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE to fetch it"
    if has(httpx.TransportError):
        mend = "check the connection; HF_ENDPOINT names another hub"
        return f"there is no connection to {constants.ENDPOINT}", mend
    reason = next((" ".join(str(each).split()) for each in chain if str(each).strip()), type(error).__name__)
    return reason[:300], "check the id and the connection; a private or gated repository needs HF_TOKEN"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
