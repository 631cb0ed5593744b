"""The commands `catalog`, `rollback` and `gc`: list builds, go back to an earlier one, remove unused artifacts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve.config.stack import Stack
from serve.study.model_card import write_model_card
from variants.artifacts import rollback
from variants.artifacts.catalog import Catalog, ModelEntry
from variants.artifacts.history import History, rolled_back
from variants.artifacts.manifest import Manifest
from variants.artifacts.rollback import Rollback
from variants.artifacts.store import Store, open_artifact, read_manifest
from variants.build import garbage
from variants.build.garbage import Collected, Item
from variants.disk import disk_bytes, free_bytes
from variants.errors import InputError, IntegrityError
from variants.files import STAGING, UNFINISHED
from variants.home import home, sources_of


def list_catalog(name: str | None = None, verify: bool = False) -> dict[str, Any]:
    """`variants` has one row for each variant of `name` (`model` or `model@variant`), or for all.

    `space` is in bytes on disk. A row's `fault` describes a missing artifact or a damaged manifest. With `verify`,
    every file is hashed too. Raises UnknownName for a model or variant that does not exist.
    """
    catalog, store = Catalog(home()), Store(home())
    model, _, variant = (name or "").partition("@")
    entries = [catalog.model(model)] if model else catalog.entries()
    if variant:
        entries[0].history(variant)  # raises UnknownName
    rows = [_row(entry, each, store, verify) for entry in entries for each in entry.variants if variant in ("", each)]
    return {"variants": rows, "space": _space(store)}


def _row(entry: ModelEntry, variant: str, store: Store, verify: bool) -> dict[str, Any]:
    history = entry.history(variant)
    current = history[-1]
    manifest, fault = manifest_or_fault(store, current.key, current.digest, verify)
    card = next(reversed(entry.cards.get(current.digest, ())), None)
    return {
        "model": entry.model,
        "variant": variant,
        "artifact_sha256": current.digest,
        "artifact_bytes": manifest.bytes if manifest else None,
        "disk_bytes": _on_disk(store, current.key),
        "licences": sorted({source.licence for source in manifest.sources}) if manifest else [],
        "fault": fault,
        "bound": current.bound.isoformat(timespec="seconds"),
        "rolled_back": rolled_back(history),
        "history": _history(history, store, verify),
        "earlier_builds": len({binding.digest for binding in history}) - 1,
        "accuracy": [figure.model_dump() for figure in card.accuracy] if card else [],
        "inference_per_s": card.inference_per_s if card else None,
    }


def write_cards(rows: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Write a model card for each variant whose current build was measured and is undamaged. Returns the paths."""
    catalog, store, written = Catalog(home()), Store(home()), []
    for row in rows:
        entry = catalog.model(row["model"])
        current = entry.current(row["variant"])
        manifest, _ = manifest_or_fault(store, current.key, current.digest)
        cards = entry.cards.get(current.digest, ())
        if manifest and cards:
            written.append(write_model_card(manifest, cards[-1], folder))
    return written


def _history(history: History, store: Store, verify: bool) -> list[dict[str, Any]]:
    """Oldest first; the last one is current."""
    return [
        {
            "artifact_sha256": binding.digest,
            "bound": binding.bound.isoformat(timespec="seconds"),
            "why": binding.why,
            "current": binding is history[-1],
            "disk_bytes": _on_disk(store, binding.key),
            "fault": manifest_or_fault(store, binding.key, binding.digest, verify)[1],
        }
        for binding in history
    ]


def _on_disk(store: Store, key: str) -> int | None:
    return disk_bytes(store.path(key)) if store.path(key).exists() else None


def _space(store: Store) -> dict[str, int]:
    """Bytes on disk. `shared_bytes` are the copies of files beyond the first: equal files of several artifacts."""
    copies: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for key in store.stored():
        manifest, _ = manifest_or_fault(store, key)
        for entry in manifest.files.values() if manifest else ():
            copies[entry.sha256] += 1
            sizes[entry.sha256] = entry.bytes
    staging = [folder for kind in (STAGING, UNFINISHED) for folder in (store.root / kind).glob("*")]
    return {
        "artifacts": len(store.stored()),
        "artifacts_bytes": disk_bytes(*(store.path(key) for key in store.stored())),
        "shared_bytes": sum((count - 1) * sizes[content] for content, count in copies.items()),
        "staging_bytes": disk_bytes(*staging),
        "sources_bytes": disk_bytes(sources_of(store.home)),
        "free_bytes": free_bytes(store.home),
    }


def manifest_or_fault(
    store: Store, key: str, digest: str | None = None, verify: bool = False
) -> tuple[Manifest, None] | tuple[None, str]:
    try:
        folder = store.path(key)
        manifest = open_artifact(folder).manifest if verify else read_manifest(folder)
    except IntegrityError as error:
        return None, str(error)
    if digest not in (None, manifest.digest):
        return None, f"build {manifest.digest[:8]} is stored in its place"
    return manifest, None


def roll_back(name: str, build: str | None) -> Rollback:
    """Bind `model@variant` to an earlier build. Raises InputError for another form of name, and the errors of
    `variants.artifacts.rollback`."""
    model, _, variant = name.partition("@")
    if not variant:
        known = ", ".join(f"{model}@{each}" for each in Catalog(home()).model(model).variants)
        raise InputError(f"{name!r} names no variant", field="NAME", mend=f"one of {known}")
    return rollback.roll_back(Store(home()), Catalog(home()), model, variant, build)


def collect(stacks: Sequence[Stack], keep: int | None, dry_run: bool) -> Collected:
    """Remove the artifacts that no history, none of the stacks and no running process uses."""
    return garbage.collect(Store(home()), Catalog(home()), [stack.plans() for stack in stacks], keep, dry_run)


def describe_collected(done: Collected) -> str:
    def named(item: Item) -> str:
        name = f"{item.model}@{item.variant}" if item.model else "unreadable"
        return f"{name}  {(item.digest or item.key)[:8]}  {item.bytes / 1e6:.1f} MB"

    removed, freed = ("would be removed", "would be freed") if done.dry_run else ("removed", "freed")
    lines = [f"cut from history: {cut.model}@{cut.variant}  {cut.binding.digest[:8]}" for cut in done.trimmed]
    lines += [f"in use, kept: {named(item)}" for item in done.in_use]
    lines += [f"{removed}: {named(item)}" for item in done.removed]
    lines += [f"{removed}: left by a build that did not end, {key[:8]}" for key in done.staging]
    if done.data_bytes:
        lines.append(f"{removed}: copies of tasks' data, {done.data_bytes / 1e6:.1f} MB")
    return "\n".join([*lines, f"{done.freed_bytes / 1e6:.1f} MB {freed}"])
