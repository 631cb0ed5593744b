"""Garbage collection: removes the artifacts that nothing refers to any more.

It also removes what interrupted builds left, and the copies that the `datasets` library made of tasks' data: they are
made again when they are read.

It keeps the artifacts in a history of the catalog, those of the recipes of given stacks, and those that an engine, a
builder or a reader holds. It also keeps the parents of all these: an adapter is served on its parent's weights, and a
variant is judged against its parent. Each artifact is checked again under its lock before its removal. So a build, a
rollback or a start at the same time loses nothing.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from variants.artifacts.catalog import Catalog, ModelEntry
from variants.artifacts.history import Binding
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store, read_manifest
from variants.build.builder import MethodFor, VariantPlan, artifact_key, base_of, in_order
from variants.disk import disk_bytes
from variants.document import Document, Sha256
from variants.errors import IntegrityError
from variants.files import STAGING, UNFINISHED, dead, locked_if_free
from variants.home import sources_of
from variants.methods.registry import find
from variants.progress import NoProgress
from variants.tasks.data.rows import lock_of_copies

COPIED_LATELY_S = 3600
"""A copy that was opened later may be in use: the library reads it for as long as the task's data is read."""


class Item(Document):
    """An artifact that is removed, or would be if it were not in use. All but `key` and `bytes` are None where its
    manifest cannot be read."""

    key: Sha256
    digest: Sha256 | None
    model: str | None
    variant: str | None
    bytes: Annotated[int, Field(description="on disk")]


class Trimmed(Document):
    """A binding that was removed from a history."""

    model: str
    variant: str
    binding: Binding


class Collected(Document):
    """What was removed, or would be without `dry_run`. `in_use` holds unreferenced artifacts that a process holds."""

    dry_run: bool
    trimmed: tuple[Trimmed, ...]
    removed: tuple[Item, ...]
    in_use: tuple[Item, ...]
    staging: Annotated[tuple[str, ...], Field(description="keys of what builders left that have ended")]
    data_bytes: Annotated[int, Field(description="of copies of tasks' data")] = 0
    freed_bytes: int


def collect(
    store: Store,
    catalog: Catalog,
    plans: Sequence[Sequence[VariantPlan]] = (),
    keep: int | None = None,
    dry_run: bool = False,
    method_for: MethodFor = find,
) -> Collected:
    """Remove the artifacts that nothing refers to.

    `plans` are those of the stacks whose artifacts stay. `keep` first cuts every variant's history to its current build
    and that many builds before it.

    Errors as for `build` when the keys of a stack cannot be computed; nothing is removed then. StoreFull when there is
    no space even for a shorter history; the staging folders of ended builders are removed by then.
    """
    planned = {key for family in plans for key in keys_of(family, store, catalog, method_for)}
    staging, freed = _sweep(store, dry_run)
    data_bytes = _sweep_copies(sources_of(store.home) / "datasets", dry_run)
    before = catalog.entries()
    after = before if keep is None else [entry.trimmed(keep) for entry in before]
    if keep is not None and not dry_run:
        catalog.trim(keep)
    removed, in_use = [], []
    named = planned | _bound(after if dry_run else catalog.entries())
    for item in _unnamed(store, named):
        with store.unused(item.key) as free:
            if not store.path(item.key).exists():  # another collection was faster
                continue
            if not free:
                in_use.append(item)
            elif dry_run:
                removed.append(item)
            elif item.key not in _bound(catalog.entries()):  # a build may have bound it in the meantime
                store.discard(item.key)
                removed.append(item)
    return Collected(
        dry_run=dry_run,
        trimmed=tuple(_cut(before, after)),
        removed=tuple(removed),
        in_use=tuple(in_use),
        staging=tuple(staging),
        data_bytes=data_bytes,
        freed_bytes=freed + data_bytes + sum(item.bytes for item in removed),
    )


def keys_of(plans: Sequence[VariantPlan], store: Store, catalog: Catalog, method_for: MethodFor = find) -> set[str]:
    """The keys of a stack's plans. A plan whose parent is not built has no artifact, and is left out. Errors as for
    `build`, before any work."""
    keys: set[str] = set()
    there: dict[tuple[str, str], Artifact] = {}
    order = in_order(plans)
    by_name = {plan.name: plan for plan in order}
    for plan in order:
        parent = there.get((plan.model, plan.parent)) if plan.parent else None
        if plan.parent and parent is None:
            continue
        method = method_for(plan.task, plan.recipe, f"{plan.field}.recipe")
        base = base_of(plan, there, by_name)
        key = artifact_key(plan, method, parent, base, store.home, NoProgress())
        bound = catalog.kept_back(plan.model, plan.variant, key)
        keys.add(key)
        stands_for = bound.key if bound else key
        if store.has(stands_for):
            there[plan.name] = Artifact(store.path(stands_for), read_manifest(store.path(stands_for)))
    return keys


def _sweep(store: Store, dry_run: bool) -> tuple[list[str], int]:
    """Remove what ended builders left, unless this is a dry run. Returns the keys and the bytes."""
    names, freed = dict[str, None](), 0
    for left in dead(store.root, STAGING, UNFINISHED):
        names[left.name] = None
        freed += disk_bytes(left)
        if not dry_run:
            shutil.rmtree(left)
    return list(names), freed


def _sweep_copies(folder: Path, dry_run: bool) -> int:
    """Remove the copies of data, unless this is a dry run. Returns their bytes. `folder` has a folder for each format
    with one for each copy. None is removed while one is made or opened."""
    if not folder.is_dir():
        return 0
    freed = 0
    with locked_if_free(lock_of_copies(folder)) as free:
        copies = sorted(folder.glob("*/*/")) if free else []
        for copy in copies:
            files = [path.stat().st_mtime for path in copy.rglob("*") if path.is_file()]
            if time.time() - max(files, default=0) < COPIED_LATELY_S:
                continue
            freed += disk_bytes(copy)
            if not dry_run:
                shutil.rmtree(copy)
    return freed


def _unnamed(store: Store, named: set[str]) -> list[Item]:
    """Every artifact that is neither in `named`, nor an ancestor of one that is in `named` or in use."""
    manifests = {key: _manifest(store, key) for key in store.stored()}
    by_digest: dict[str, list[str]] = {}
    for key, manifest in manifests.items():
        if manifest:
            by_digest.setdefault(manifest.digest, []).append(key)
    stays, waiting = set(named), [key for key in manifests if key in named or _held(store, key)]
    while waiting:
        manifest = manifests.get(waiting.pop())
        parents = by_digest.get(manifest.parent_digest, []) if manifest and manifest.parent_digest else []
        waiting += [key for key in parents if key not in stays]
        stays.update(parents)
    items = []
    for key in sorted(manifests.keys() - stays):
        names = {name: getattr(manifests[key], name, None) for name in ("digest", "model", "variant")}
        items.append(Item(key=key, bytes=disk_bytes(store.path(key)), **names))
    return items


def _held(store: Store, key: str) -> bool:
    with store.unused(key) as free:
        return not free


def _manifest(store: Store, key: str) -> Manifest | None:
    try:
        return read_manifest(store.path(key))
    except IntegrityError:
        return None


def _bound(entries: Sequence[ModelEntry]) -> set[str]:
    return {binding.key for entry in entries for history in entry.variants.values() for binding in history}


def _cut(before: Sequence[ModelEntry], after: Sequence[ModelEntry]) -> list[Trimmed]:
    return [
        Trimmed(model=old.model, variant=variant, binding=binding)
        for old, new in zip(before, after, strict=True)
        for variant, history in old.variants.items()
        for binding in history
        if binding not in new.variants[variant]
    ]
