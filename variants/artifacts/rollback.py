"""Rollback: binds a variant's name to an earlier build again, after the store has verified that build.

Nothing is copied or deleted. The catalog gets one more binding. The same command with the newer build goes forward
again. Engines that run keep their artifact until they are started again.
"""

from dataclasses import dataclass

from variants.artifacts.catalog import Catalog
from variants.artifacts.history import Binding, target
from variants.artifacts.store import Store
from variants.errors import IntegrityError, UnknownName


@dataclass(frozen=True)
class Rollback:
    """The bindings of a name before and after a rollback."""

    model: str
    variant: str
    before: Binding
    now: Binding


def roll_back(store: Store, catalog: Catalog, model: str, variant: str, build: str | None = None) -> Rollback:
    """Bind `model`@`variant` to the build before, or to the one whose digest begins with `build`.

    UnknownName for an unknown model, variant or build. InputError when there is no build before, or several digests
    begin with `build`. IntegrityError when the artifact of the build is missing, damaged, or another build. After an
    error the binding is unchanged.
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
                f"the store has build {digest[:8]} in the place of build {chosen.digest[:8]} of {model}@{variant}",
                field="build",
                mend="go to another build: understudy catalog",
            )
        return Rollback(model, variant, history[-1], catalog.roll_back(model, variant, chosen.digest))
