"""What a change proposes: a stack, and the key of every variant's artifact. Read, opened, and made a version of."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from serve.config.loader import parse
from serve.config.snapshot import Snapshot, VariantRef, build_snapshot
from serve.config.stack import Stack
from serve.errors import Conflict
from variants.artifacts.store import Artifact, Store
from variants.errors import InputError, StackError
from variants.home import home

PINNED_S = 60.0
"""A variant that a client has named within this time is in use."""


class Proposal(NamedTuple):
    """`keys` by `model@variant`. A dry run only says what would change; `force` takes away what is in use, too."""

    stack: Stack
    keys: Mapping[str, str]
    dry_run: bool
    force: bool


def read_proposal(document: dict[str, Any]) -> Proposal:
    """`{"stack", "artifacts": {"model@variant": key}, "dry_run", "force"}`. Raises StackError, InputError naming the
    field."""
    unknown = set(document) - {"stack", "artifacts", "dry_run", "force"}
    if unknown:
        raise InputError(f"unknown key {min(unknown)!r}", field=min(unknown), mend="stack, artifacts, dry_run, force")
    keys = document.get("artifacts")
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise InputError("maps each model@variant to its artifact's key", field="artifacts", mend="understudy apply")
    for name in ("dry_run", "force"):
        if not isinstance(document.get(name, False), bool):
            raise InputError("is true or false", field=name)
    return Proposal(parse(document.get("stack")), keys, document.get("dry_run", False), document.get("force", False))


def version_of(proposal: Proposal, snapshot: Snapshot) -> Snapshot:
    """The version that is proposed, each new artifact opened and verified. Raises InputError, IntegrityError."""
    stack, standing = proposal.stack, snapshot.stack.server
    if stack.server.body_limit_mib != standing.body_limit_mib:
        raise StackError("is read when the server starts", field="server.body_limit_mib", mend="start it anew")
    server = standing.model_copy(update={"memory_mib": stack.server.memory_mib, "keys": stack.server.keys})
    known = {artifact.manifest.key: artifact for artifact in snapshot.artifacts.values()}
    store = Store(home())
    artifacts: dict[VariantRef, Artifact] = {}
    for model, found in stack.models.items():
        for variant in found.variants:
            name = f"{model}@{variant}"
            if name not in proposal.keys:
                raise InputError(f"no artifact for {name}", field="artifacts", mend="build it: understudy build")
            key = proposal.keys[name]
            artifact = known.get(key) or store.open(key)
            if (artifact.manifest.model, artifact.manifest.variant) != (model, variant):
                raise InputError(f"{key[:8]} is no artifact of {name}", field=f"artifacts.{name}")
            artifacts[model, variant] = artifact
    return build_snapshot(
        stack.model_copy(update={"server": server}), artifacts, snapshot.version + 1, snapshot.traffic
    )


def check_slots(snapshot: Snapshot, wanted: Snapshot) -> None:
    """Raises Conflict where an engine has no room for the adapters that are to come beside those that are to go: both
    are loaded until the change has taken effect."""
    for application, names in wanted.adapters.items():
        engine, both = wanted.engines[application], names | snapshot.adapters.get(application, frozenset())
        if len(both) > engine.slots:
            raise Conflict(
                f"the engine of {engine.name} has room for {engine.slots} adapters, and {len(both)} would be loaded "
                f"until the change has taken effect: {', '.join(sorted(both))}",
                field="engine.adapters.slots",
                mend="more slots, or take the old ones out first",
            )


def check_unused(snapshot: Snapshot, wanted: Snapshot, named: Iterable[tuple[str, float]], now: float) -> None:
    """Raises Conflict where a model or a variant is to go that clients have `named` lately, each with when, in seconds
    of the epoch: they would get errors. Who names a model alone only moves when a variant goes."""
    going = {found.name for name, found in snapshot.variants.items() if name not in wanted.variants}
    going |= set(snapshot.stack.models) - set(wanted.stack.models)
    for name, at in named:
        if name in going and now - at < PINNED_S:
            raise Conflict(
                f"{name} is in use: a client named it {now - at:.0f} s ago, and would get 404",
                field="models",
                mend=f"wait until nobody has for {PINNED_S:.0f} s, or --force",
            )
