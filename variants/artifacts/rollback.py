"""Rollback: a variant's name stands for an earlier build again, once that is found whole in the store.

Nothing is copied and nothing is deleted: the catalog gets one more binding, and going forward again is the same command
with the newer build. What runs keeps what it has until it is started again.
"""

from dataclasses import dataclass

from variants.artifacts.catalog import Catalog
from variants.artifacts.history import Binding, target
from variants.artifacts.store import Store
from variants.errors import IntegrityError, UnknownName


@dataclass(frozen=True)
class Rollback:
    """What a name stood for, and what it stands for now."""

    model: str
    variant: str
    before: Binding
    now: Binding


def roll_back(store: Store, catalog: Catalog, model: str, variant: str, build: str | None = None) -> Rollback:
    """Bind `model`@`variant` to the build before, or to the one whose digest begins with `build`.

    UnknownName for a model, a variant or a build that is not there, InputError when there is nothing to go back to or
    several builds begin so, IntegrityError when the build's artifact is gone, damaged, or not that build any more. The
    name stays as it is then.
    """
    history = catalog.model(model).history(variant)
    chosen = target(history, f"{model}@{variant}", build)
    with store.hold(chosen.key):
        try:
            digest = store.open(chosen.key).manifest.digest
        except UnknownName:
            raise IntegrityError(
                f"the artifact of build {chosen.digest[:8]} of {model}@{variant} is not in the store any more",
                field="build",
                mend="build its recipe again, or go to another build: understudy catalog",
            ) from None
        if digest != chosen.digest:
            raise IntegrityError(
                f"what stands in the place of build {chosen.digest[:8]} of {model}@{variant} is build {digest[:8]}",
                field="build",
                mend="go to another build: understudy catalog",
            )
        return Rollback(model, variant, history[-1], catalog.roll_back(model, variant, chosen.digest))
