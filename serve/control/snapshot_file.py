"""The file of the current snapshot, from which a restarted controller serves on."""

import json
from pathlib import Path
from typing import Any

from serve.config.loader import parse
from serve.config.snapshot import Snapshot, build_snapshot
from variants.artifacts.store import Artifact, Store, read_manifest
from variants.files import write_atomic
from variants.home import home

LIVE = "live.json"
"""The file's name in the folder of a run."""


def document_of(snapshot: Snapshot) -> dict[str, Any]:
    """The version, the stack, and the key of every artifact."""
    return {
        "version": snapshot.version,
        "stack": snapshot.stack.as_document(),
        "artifacts": {
            f"{model}@{variant}": artifact.manifest.key for (model, variant), artifact in snapshot.artifacts.items()
        },
    }


def record(snapshot: Snapshot, file: Path) -> None:
    write_atomic(file, json.dumps(document_of(snapshot)).encode())


def recorded(file: Path) -> Snapshot | None:
    """The snapshot that an earlier controller recorded, or None. Its artifacts were verified when it was proposed."""
    if not file.is_file():
        return None
    document = json.loads(file.read_bytes())
    stack, store = parse(document["stack"]), Store(home())
    artifacts = {}
    for name, key in document["artifacts"].items():
        model, _, variant = name.partition("@")
        artifacts[model, variant] = Artifact(store.path(key), read_manifest(store.path(key)))
    return build_snapshot(stack, artifacts, document["version"])
