"""The catalog: which artifacts each variant's name has been bound to, and the cards that were measured of them.

One JSON file a model, written whole under a lock. The last entry of a variant's history is its current artifact; an
artifact that was current before and is built again becomes the last entry again. Cards belong to digests, never to
names, so what was measured of one build is never read as evidence for another.
"""

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from variants.card import Card
from variants.errors import UnknownName
from variants.files import locked, write_atomic
from variants.manifest import Manifest, TaskKind
from variants.typed import Document, Name, Sha256


class Binding(Document):
    """A variant's name bound to one artifact, since `bound`."""

    digest: Sha256
    key: Sha256
    bound: AwareDatetime


class ModelEntry(Document):
    """`variants`: history by variant, oldest first. `cards`: by artifact digest, oldest first."""

    schema_: Literal[1] = Field(1, alias="schema")
    model: Name
    task: TaskKind
    variants: dict[Name, tuple[Binding, ...]] = Field(default_factory=dict)
    cards: dict[Sha256, tuple[Card, ...]] = Field(default_factory=dict)

    def current(self, variant: str) -> Binding:
        """The artifact that a variant's name stands for now. UnknownName when it has none."""
        if variant not in self.variants:
            raise UnknownName(
                f"{self.model} has no variant {variant!r}", field="variant", mend=f"one of {', '.join(self.variants)}"
            )
        return self.variants[variant][-1]


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

    def record(self, manifest: Manifest) -> None:
        """Bind the manifest's variant to its artifact; nothing changes when it is bound to it already."""
        with locked(self.root / ".lock"):
            path = self._path(manifest.model)
            entry = (
                self.model(manifest.model) if path.is_file() else ModelEntry(model=manifest.model, task=manifest.task)
            )
            history = entry.variants.get(manifest.variant, ())
            if history and history[-1].digest == manifest.digest:
                return
            binding = Binding(digest=manifest.digest, key=manifest.key, bound=manifest.created)
            variants = {**entry.variants, manifest.variant: (*history, binding)}
            write_atomic(path, entry.model_copy(update={"variants": variants}).to_json())

    def add_card(self, model: str, card: Card) -> None:
        """Append a card to those of its digest. UnknownName when no variant of `model` was ever bound to it."""
        with locked(self.root / ".lock"):
            entry = self.model(model)
            if all(binding.digest != card.digest for history in entry.variants.values() for binding in history):
                raise UnknownName(f"{model} has no artifact {card.digest}", field="card.digest", mend="build it first")
            cards = {**entry.cards, card.digest: (*entry.cards.get(card.digest, ()), card)}
            write_atomic(self._path(model), entry.model_copy(update={"cards": cards}).to_json())

    def _path(self, model: str) -> Path:
        return self.root / f"{model}.json"
