"""The differences between two snapshots: variants added, replaced, removed or changed. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

from serve.config.server.settings import Server
from serve.config.snapshot import ServedVariant, Snapshot

Kind = Literal["add", "replace", "remove", "change", "keep"]


def differences(before: Snapshot, after: Snapshot) -> list[dict[str, Any]]:
    """Every variant of both snapshots, in the order of the later one, as the admin API reports it.

    `kind` is a `Kind`. Shares are of the model's routed requests. A build is 8 characters of a digest, None where the
    snapshot does not have the variant."""
    names = dict.fromkeys([*after.variants, *before.variants])
    shares = share_of(before), share_of(after)
    return [
        {
            "name": f"{name[0]}@{name[1]}",
            "kind": kind_of(before.variants.get(name), after.variants.get(name)),
            "build_before": build_of(before.variants.get(name)),
            "build_after": build_of(after.variants.get(name)),
            "share_before": shares[0].get(name, 0.0),
            "share_after": shares[1].get(name, 0.0),
        }
        for name in names
    ]


def server_differences(before: Server, after: Server) -> dict[str, Any]:
    """The names of API keys that are added, removed or changed. `open` tells whether no key remains."""
    old, new = before.keys or {}, after.keys or {}
    return {
        "keys_added": [name for name in new if name not in old],
        "keys_removed": [name for name in old if name not in new],
        "keys_changed": [name for name in new if name in old and new[name] != old[name]],
        "open": not new,
    }


def kind_of(before: ServedVariant | None, after: ServedVariant | None) -> Kind:
    if before is None:
        return "add"
    if after is None:
        return "remove"
    if before.place != after.place:
        return "replace"
    return "keep" if (before.weight, before.limits) == (after.weight, after.limits) else "change"


def build_of(variant: ServedVariant | None) -> str | None:
    return variant.manifest.digest[:8] if variant else None


def share_of(snapshot: Snapshot) -> Mapping[tuple[str, str], float]:
    totals: dict[str, float] = {}
    for (model, _), variant in snapshot.variants.items():
        totals[model] = totals.get(model, 0.0) + variant.weight
    return {name: variant.weight / totals[name[0]] for name, variant in snapshot.variants.items()}
