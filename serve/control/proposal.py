"""A proposal: a stack and the key of every variant's artifact. Reads it, checks it and builds its snapshot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from serve.config.lineage import VariantRef
from serve.config.loader import parse
from serve.config.placement import check_resources
from serve.config.server.exposure import check_beyond_loopback, check_removal
from serve.config.server.webhook import check_webhook
from serve.config.snapshot import Snapshot, build_snapshot
from serve.config.stack import Stack
from serve.control.records.declared import check_declared
from serve.errors import Conflict
from variants.artifacts.store import Artifact, Store
from variants.errors import InputError, StackError
from variants.home import home
from variants.machine import Gpu

PINNED_S = 60.0
"""A variant that a client has named within this time is in use."""


class Proposal(NamedTuple):
    """`keys` of artifacts by `model@variant`. `dry_run` only reports the differences. `force` also removes variants in
    use. `insecure_open` allows a server without API keys."""

    stack: Stack
    keys: Mapping[str, str]
    dry_run: bool
    force: bool
    insecure_open: bool = False


FLAGS = ("dry_run", "force", "insecure_open")


def read_proposal(document: dict[str, Any]) -> Proposal:
    """Read `{"stack", "artifacts": {"model@variant": key}, "dry_run", "force", "insecure_open"}`.

    Raises StackError, InputError naming the field."""
    unknown = set(document) - {"stack", "artifacts", *FLAGS}
    if unknown:
        raise InputError(
            f"unknown key {min(unknown)!r}", field=min(unknown), mend=", ".join(("stack", "artifacts", *FLAGS))
        )
    keys = document.get("artifacts")
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise InputError("must map each model@variant to a key", field="artifacts", mend="understudy apply")
    for name in FLAGS:
        if not isinstance(document.get(name, False), bool):
            raise InputError("must be true or false", field=name)
    return Proposal(parse(document.get("stack")), keys, *(document.get(name, False) for name in FLAGS))


def version_of(proposal: Proposal, snapshot: Snapshot) -> Snapshot:
    """The proposed snapshot. Opens and verifies each new artifact. Raises InputError, IntegrityError."""
    stack, current = proposal.stack, snapshot.stack.server
    for name in ("body_limit_mib", "memory_in_flight_mib", "grpc_port", "logical_gpus"):
        if getattr(stack.server, name) != getattr(current, name):
            raise StackError("only changes at a restart", field=f"server.{name}", mend="restart the server")
    check_webhook(stack.server.webhook)
    check_declared(stack)
    keys = current.keys if stack.server.keys is None else stack.server.keys
    taken = {name: getattr(stack.server, name) for name in ("memory_mib", "hosts", "cors", "webhook", "console")}
    server = current.model_copy(update=taken | {"keys": keys})
    known = {artifact.manifest.key: artifact for artifact in snapshot.artifacts.values()}
    store = Store(home())
    artifacts: dict[VariantRef, Artifact] = {}
    for model, served in stack.models.items():
        for variant in served.variants:
            name = f"{model}@{variant}"
            if name not in proposal.keys:
                raise InputError(f"no artifact for {name}", field="artifacts", mend="build it: understudy build")
            key = proposal.keys[name]
            artifact = known.get(key) or store.open(key)
            if (artifact.manifest.model, artifact.manifest.variant) != (model, variant):
                raise InputError(f"{key[:8]} is not an artifact of {name}", field=f"artifacts.{name}")
            artifacts[model, variant] = artifact
    return build_snapshot(
        stack.model_copy(update={"server": server}), artifacts, snapshot.version + 1, snapshot.traffic
    )


def check_exposure(snapshot: Snapshot, wanted: Snapshot, insecure_open: bool) -> None:
    """Raises StackError if the change removes every API key, or if other machines reach a server without keys."""
    before, after = snapshot.stack.server.keys or {}, wanted.stack.server.keys or {}
    check_removal(before, after, insecure_open)
    check_beyond_loopback(wanted.stack.server.host, after, insecure_open)


def check_engines(snapshot: Snapshot, wanted: Snapshot, here: Sequence[Gpu]) -> None:
    """Raises StackError if the wanted engines ask for more than the machine has, GPUs `here` among it. Raises Conflict
    if only the old and new ones together do: both run until the change has taken effect."""
    check_resources(wanted.engines.values(), here)
    try:
        check_resources({**snapshot.engines, **wanted.engines}.values(), here)
    except StackError as error:
        message = f"old and new engines run side by side: {error.message}"
        raise Conflict(message, field=error.field, mend="remove a variant first") from None


def check_slots(snapshot: Snapshot, wanted: Snapshot) -> None:
    """Raises Conflict if an engine has too few slots for its old and new adapters together.

    Both are loaded until the change has taken effect."""
    for application, names in wanted.adapters.items():
        engine, both = wanted.engines[application], names | snapshot.adapters.get(application, frozenset())
        if len(both) > engine.slots:
            raise Conflict(
                f"the engine of {engine.name} has room for {engine.slots} adapters, and {len(both)} would be loaded "
                f"until the change has taken effect: {', '.join(sorted(both))}",
                field="engine.adapters.slots",
                mend="more slots, or remove the old ones first",
            )


def check_unused(snapshot: Snapshot, wanted: Snapshot, named: Iterable[tuple[str, float]], now: float) -> None:
    """Raises Conflict if a model or variant to be removed was `named` lately; times are seconds since the epoch.

    Its clients would get errors. A client that names only the model is routed to another variant."""
    removed = {variant.name for ref, variant in snapshot.variants.items() if ref not in wanted.variants}
    before, after = ({*each.stack.models, *each.stack.aliases} for each in (snapshot, wanted))
    removed |= before - after
    for name, at in named:
        if name in removed and now - at < PINNED_S:
            raise Conflict(
                f"{name} is in use: a client named it {now - at:.0f} s ago, and would get 404",
                field="models",
                mend=f"wait until nobody has named it for {PINNED_S:.0f} s, or --force",
            )
