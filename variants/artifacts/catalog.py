"""The catalog: the artifacts that each variant's name has been bound to, and their cards.

Each model has one JSON file, which is written atomically under a lock. The last entry of a variant's history is its
current artifact. An earlier artifact that is built again becomes the last entry again, unless a rollback prevents it
(`variants/artifacts/history.py` has the rules). Cards belong to digests, not to names. So the measurements of one build
are never taken for those of another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from variants.artifacts.card import Card
from variants.artifacts.history import Binding, History, kept_back, target, trimmed
from variants.artifacts.manifest import Manifest, TaskKind
from variants.artifacts.outcome_store import OutcomeStore
from variants.document import Document, Name, Sha256
from variants.errors import UnknownName
from variants.files import locked, write_atomic


class ModelEntry(Document):
    """One model. `variants`: histories by variant, oldest binding first. `cards`: by artifact digest, oldest first."""

    schema_: Literal[1] = Field(1, alias="schema")
    model: Name
    task: TaskKind
    variants: dict[Name, History] = Field(default_factory=dict)
    cards: dict[Sha256, tuple[Card, ...]] = Field(default_factory=dict)

    def current(self, variant: str) -> Binding:
        """The current binding of a variant's name. UnknownName when it has none."""
        return self.history(variant)[-1]

    def history(self, variant: str) -> History:
        """All bindings of a variant's name, at least one. UnknownName when it has none."""
        if variant not in self.variants:
            raise UnknownName(
                f"{self.model} has no variant {variant!r}", field="variant", mend=f"one of {', '.join(self.variants)}"
            )
        return self.variants[variant]

    def bound(self, variant: str, binding: Binding) -> "ModelEntry":
        """A copy of this entry with one more binding."""
        history = (*self.variants.get(variant, ()), binding)
        return self.model_copy(update={"variants": {**self.variants, variant: history}})

    def trimmed(self, keep: int) -> "ModelEntry":
        """A copy of this entry with each history cut to its current build and the `keep` builds before it. Cards of
        digests that are in no history any more are left out."""
        variants = {variant: trimmed(history, keep) for variant, history in self.variants.items()}
        digests = {binding.digest for history in variants.values() for binding in history}
        cards = {digest: cards for digest, cards in self.cards.items() if digest in digests}
        return self.model_copy(update={"variants": variants, "cards": cards})


class Catalog:
    """The catalog below `home`."""

    def __init__(self, home: Path) -> None:
        self.root = home / "catalog"

    def models(self) -> list[str]:
        """The names of all models, sorted."""
        return sorted(path.stem for path in self.root.glob("*.json"))

    def model(self, name: str) -> ModelEntry:
        """A model's entry. UnknownName when no variant of it was built."""
        path = self._path(name)
        if not path.is_file():
            known = self.models()
            mend = f"one of {', '.join(known)}" if known else "build it first: understudy build"
            raise UnknownName(f"there is no model {name!r} in the catalog", field="model", mend=mend)
        return ModelEntry.from_json(path.read_bytes(), str(path))

    def entries(self) -> list[ModelEntry]:
        """Every model's entry, by name."""
        return [self.model(name) for name in self.models()]

    def kept_back(self, model: str, variant: str, key: str) -> Binding | None:
        """The current binding of a variant's name, where a rollback prevents that the artifact of `key` takes the name.
        None when it may take the name."""
        if not self._path(model).is_file():
            return None
        return kept_back(self.model(model).variants.get(variant, ()), key)

    def record(self, manifest: Manifest) -> Binding:
        """Bind the manifest's variant to its artifact, and return the current binding.

        Where a rollback prevents it, the binding stays as it is. A current artifact is not bound again.
        """
        with self._locked():
            path = self._path(manifest.model)
            entry = (
                self.model(manifest.model) if path.is_file() else ModelEntry(model=manifest.model, task=manifest.task)
            )
            history = entry.variants.get(manifest.variant, ())
            if kept := kept_back(history, manifest.key):
                return kept
            if history and (history[-1].key, history[-1].digest) == (manifest.key, manifest.digest):
                return history[-1]
            binding = Binding(digest=manifest.digest, key=manifest.key, bound=datetime.now(UTC), why="build")
            write_atomic(path, entry.bound(manifest.variant, binding).to_json())
            return binding

    def roll_back(self, model: str, variant: str, build: str | None = None) -> Binding:
        """Bind a variant's name to an earlier build: the one before, or the one whose digest begins with `build`.

        The caller must verify the artifact (`variants/artifacts/rollback.py`). UnknownName and InputError as for
        `history.target`.
        """
        with self._locked():
            entry = self.model(model)
            chosen = target(entry.history(variant), f"{model}@{variant}", build)
            binding = chosen.model_copy(update={"bound": datetime.now(UTC), "why": "rollback"})
            write_atomic(self._path(model), entry.bound(variant, binding).to_json())
            return binding

    def trim(self, keep: int) -> None:
        """Cut every history to its current build and the `keep` builds before it (`ModelEntry.trimmed`). Cards and
        outcomes of digests that are in no history any more are removed."""
        named: set[str] = set()
        with self._locked():
            for entry in self.entries():
                if (shorter := entry.trimmed(keep)) != entry:
                    write_atomic(self._path(entry.model), shorter.to_json())
                named |= {binding.digest for history in shorter.variants.values() for binding in history}
            OutcomeStore(self.root.parent).forget_all_but(named)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for writing. Removes the incomplete files of killed writers."""
        with locked(self.root / ".lock"):
            for left in self.root.glob(".*.tmp"):
                left.unlink()
            yield

    def add_card(self, model: str, card: Card) -> None:
        """Append a card to those of its digest. UnknownName when no history of `model` has that digest."""
        with self._locked():
            entry = self.model(model)
            if all(binding.digest != card.digest for history in entry.variants.values() for binding in history):
                raise UnknownName(f"{model} has no artifact {card.digest}", field="card.digest", mend="build it first")
            cards = {**entry.cards, card.digest: (*entry.cards.get(card.digest, ()), card)}
            write_atomic(self._path(model), entry.model_copy(update={"cards": cards}).to_json())

    def _path(self, model: str) -> Path:
        return self.root / f"{model}.json"
