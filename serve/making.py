"""Builds a stack's artifacts and lists what the catalog holds: the command line's way into `variants`."""

from pathlib import Path
from typing import Any

from serve.stack import Stack
from variants.build import build
from variants.catalog import Catalog
from variants.errors import IntegrityError
from variants.home import home
from variants.manifest import Manifest
from variants.progress import for_stream
from variants.store import Artifact, Store, read_manifest


def build_stack(stack: Stack) -> dict[tuple[str, str], Artifact]:
    """Every variant's artifact, made where it is not there yet; each file of each has been hashed once."""
    return build(stack.plans(), Store(home()), Catalog(home()), for_stream())


def list_catalog() -> list[dict[str, Any]]:
    """One row a variant: the artifact it stands for now, how many came before, and the newest card's accuracies.

    `fault` says what is wrong with an artifact whose folder is gone or damaged; the others are listed all the same.
    """
    catalog, store = Catalog(home()), Store(home())
    rows = []
    for name in catalog.models():
        entry = catalog.model(name)
        for variant, history in entry.variants.items():
            digest = history[-1].digest
            manifest, fault = manifest_or_fault(store.path(history[-1].key))
            cards = entry.cards.get(digest, ())
            rows.append(
                {
                    "model": name,
                    "variant": variant,
                    "artifact_sha256": digest,
                    "artifact_bytes": manifest.bytes if manifest else None,
                    "licences": sorted({source.licence for source in manifest.sources}) if manifest else [],
                    "fault": fault,
                    "bound": history[-1].bound.isoformat(timespec="seconds"),
                    "earlier_builds": len(history) - 1,
                    "accuracy": [found.model_dump() for found in cards[-1].accuracy] if cards else [],
                    "inference_per_s": cards[-1].inference_per_s if cards else None,
                }
            )
    return rows


def manifest_or_fault(folder: Path) -> tuple[Manifest, None] | tuple[None, str]:
    try:
        return read_manifest(folder), None
    except IntegrityError as error:
        return None, str(error)
