"""The kind of compression of a variant, by which tables and pages group variants."""

from collections.abc import Sequence
from typing import Literal

from variants.recipes.recipe import Merge, Recipe, Sparsify

Kind = Literal["baseline", "quantized", "pruned", "lora", "chain", "plugin"]

_KINDS: dict[str, Kind] = {
    "baseline": "baseline",
    "train": "baseline",
    "train-text": "baseline",
    "diffusion": "baseline",
    "quantize": "quantized",
    "prune": "pruned",
    "sparsify": "pruned",
    "published": "quantized",
    "lora": "lora",
    "adapter": "lora",
    "merge": "lora",
    "plugin": "plugin",
}


def kind_of(recipe: Recipe) -> Kind:
    """The kind of a single recipe. ValueError for a recipe that is missing in `_KINDS`."""
    begins = [kind for name, kind in _KINDS.items() if recipe.kind.startswith(name)]
    if not begins:
        raise ValueError(
            f"what kind of variant does the recipe {recipe.kind!r} make? Add it to variants/recipes/family.py"
        )
    return begins[-1]


def kind_of_line(recipes: Sequence[Recipe]) -> Kind:
    """The kind of a variant. `recipes` are those of its ancestors, oldest first, and its own. Two or more compressions
    are a chain."""
    steps = [recipe for recipe in recipes if not isinstance(recipe, Merge)]  # a merge only changes its parent's form
    kinds = [kind for kind in map(kind_of, steps) if kind != "baseline"]
    if not kinds:
        return "baseline"
    return "chain" if len(kinds) > 1 else kinds[0]


def structured(recipes: Sequence[Recipe]) -> bool | None:
    """Whether pruning made the model smaller and dense (True) or left zeros in the same shapes (False). None where
    nothing was pruned."""
    dense = [not isinstance(recipe, Sparsify) for recipe in recipes if kind_of(recipe) == "pruned"]
    return all(dense) if dense else None
