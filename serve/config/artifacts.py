"""The artifacts of a stack and their cards, from the home of this machine."""

from collections.abc import Collection, Mapping
from pathlib import Path

from serve.config.capabilities import with_context
from serve.config.lineage import VariantRef
from serve.config.stack import Stack
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import build
from variants.errors import IntegrityError, UnknownName
from variants.home import home
from variants.progress import for_stream


def build_stack(
    stack: Stack,
    only: Collection[VariantRef] | None = None,
    damaged: dict[VariantRef, IntegrityError] | None = None,
) -> dict[VariantRef, Artifact]:
    """The artifact of every variant, or of those in `only`, which must include their parents. Builds what is missing.

    The hash of every file is checked once. A variant that was rolled back has the artifact of the earlier build.
    `damaged`: see `variants.build.builder.build`. Raises StackError before any work if a context is above the positions
    of a model in a local folder."""
    plans = [plan for plan in stack.plans() if only is None or plan.name in only]
    for plan in plans:
        if plan.source.kind == "path":
            engine = stack.models[plan.model].variants[plan.variant].engine
            with_context(engine, Path(plan.source.uri).expanduser(), plan.field)  # for what it raises
    return build(plans, Store(home()), Catalog(home()), for_stream(), damaged=damaged)


def cards_of(model: str) -> Mapping[str, tuple[Card, ...]]:
    """A model's cards by artifact digest, the newest last. Empty for a model that was never built here."""
    try:
        return Catalog(home()).model(model).cards
    except UnknownName:
        return {}
