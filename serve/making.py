"""Builds a stack's artifacts and lists what the catalog holds: the command line's way into `variants`."""

from typing import Any

from variants.build import build
from variants.catalog import Catalog

from serve.stack import Stack
from variants.home import home
from variants.progress import for_stream
from variants.store import Artifact, Store


def build_stack(stack: Stack) -> dict[tuple[str, str], Artifact]:
    """Every variant's artifact, made where it is not there yet; opening one hashes every file of it."""
    store = Store(home())
    manifests = build(stack.plans(), store, Catalog(home()), for_stream())
    return {seat: store.open(manifest.key) for seat, manifest in manifests.items()}


def list_catalog() -> list[dict[str, Any]]:
    return []
