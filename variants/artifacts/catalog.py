"""The catalog: which artifacts each variant's name has been bound to, and the cards that were measured of them.

One JSON file a model, written whole under a lock. The last entry of a variant's history is its current artifact; an
artifact that was current before and is built again becomes the last entry again, unless somebody has rolled back from
it (`variants/artifacts/history.py` holds the rules). Cards belong to digests, never to names, so what was measured of
one build is never read as evidence for another."""

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
    """`variants`: history by variant, oldest first. `cards`: by artifact digest, oldest first."""

    schema_: Literal[1] = Field(1, alias="schema")
    model: Name
    task: TaskKind
    variants: dict[Name, History] = Field(default_factory=dict)
    cards: dict[Sha256, tuple[Card, ...]] = Field(default_factory=dict)

    def current(self, variant: str) -> Binding:
        """The artifact that a variant's name stands for now. UnknownName when it has none."""
        return self.history(variant)[-1]

    def history(self, variant: str) -> History:
        """All that a variant's name has stood for, at least one. UnknownName when it has stood for nothing."""
        if variant not in self.variants:
            raise UnknownName(
                f"{self.model} has no variant {variant!r}", field="variant", mend=f"one of {', '.join(self.variants)}"
            )
        return self.variants[variant]

    def bound(self, variant: str, binding: Binding) -> "ModelEntry":
        """This entry with one more binding."""
        history = (*self.variants.get(variant, ()), binding)
        return self.model_copy(update={"variants": {**self.variants, variant: history}})

    def trimmed(self, keep: int) -> "ModelEntry":
        """This entry with histories cut to the current build and the `keep` before it, and without the cards of
        digests that no history names any more."""
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
        """A model's entry. UnknownName when nothing of that name was built."""
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
        """What a variant's name keeps standing for when the artifact of `key` is built, because somebody rolled back
        from that; None when the artifact may have the name."""
        if not self._path(model).is_file():
            return None
        return kept_back(self.model(model).variants.get(variant, ()), key)

    def record(self, manifest: Manifest) -> Binding:
        """Bind the manifest's variant to its artifact, and give what the name stands for then: that artifact, or the
        one that a rollback holds against it. Nothing changes when it is bound to it already."""
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
        """Bind a variant's name to a build of its history again: the one before, or the one whose digest begins with
        `build`. The artifact is the caller's to verify (`variants/artifacts/rollback.py`). UnknownName and InputError
        as `history.target` says."""
        with self._locked():
            entry = self.model(model)
            chosen = target(entry.history(variant), f"{model}@{variant}", build)
            binding = chosen.model_copy(update={"bound": datetime.now(UTC), "why": "rollback"})
            write_atomic(self._path(model), entry.bound(variant, binding).to_json())
            return binding

    def trim(self, keep: int) -> None:
        """Cut every history to its current build and the `keep` before it (`ModelEntry.trimmed`); the outcomes of the
        digests that none names any more go with their cards."""
        named: set[str] = set()
        with self._locked():
            for entry in self.entries():
                if (shorter := entry.trimmed(keep)) != entry:
                    write_atomic(self._path(entry.model), shorter.to_json())
                named |= {binding.digest for history in shorter.variants.values() for binding in history}
            OutcomeStore(self.root.parent).forget_all_but(named)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The one writer. What a writer that was killed has left half-written is removed."""
        with locked(self.root / ".lock"):
            for left in self.root.glob(".*.tmp"):
                left.unlink()
            yield

    def add_card(self, model: str, card: Card) -> None:
        """Append a card to those of its digest. UnknownName when no variant of `model` was ever bound to it."""
        with self._locked():
            entry = self.model(model)
            if all(binding.digest != card.digest for history in entry.variants.values() for binding in history):
                raise UnknownName(f"{model} has no artifact {card.digest}", field="card.digest", mend="build it first")
            cards = {**entry.cards, card.digest: (*entry.cards.get(card.digest, ()), card)}
            write_atomic(self._path(model), entry.model_copy(update={"cards": cards}).to_json())

    def _path(self, model: str) -> Path:
        return self.root / f"{model}.json"
