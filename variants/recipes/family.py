"""What kind of compression a variant is, read off its recipe: how tables and pages group variants."""

from collections.abc import Sequence
from typing import Literal

from variants.recipes.recipe import Merge, Recipe, Sparsify

Kind = Literal["baseline", "quantized", "pruned", "lora", "chain"]

_KINDS: dict[str, Kind] = {
    "baseline": "baseline",
    "train": "baseline",
    "train-text": "baseline",
    "diffusion": "baseline",
    "quantize": "quantized",
    "prune": "pruned",
    "sparsify": "pruned",
    "lora": "lora",
    "merge": "lora",
}


def kind_of(recipe: Recipe) -> Kind:
    """The kind of one recipe by itself. ValueError for a recipe that this does not know yet."""
    begins = [kind for name, kind in _KINDS.items() if recipe.kind.startswith(name)]
    if not begins:
        raise ValueError(
            f"what kind of variant does the recipe {recipe.kind!r} make? Add it to variants/recipes/family.py"
        )
    return begins[-1]


def kind_of_line(recipes: Sequence[Recipe]) -> Kind:
    """The kind of a variant by its own recipe and those of its parents, its own last: one that was compressed twice is
    a chain, each step an artifact."""
    steps = [recipe for recipe in recipes if not isinstance(recipe, Merge)]  # its parent, in another form
    kinds = [kind for kind in map(kind_of, steps) if kind != "baseline"]
    if not kinds:
        return "baseline"
    return "chain" if len(kinds) > 1 else kinds[0]


def structured(recipes: Sequence[Recipe]) -> bool | None:
    """Whether what was pruned left a smaller dense model (True) or zeros in one of the same shape (False); None where
    nothing was pruned."""
    dense = [not isinstance(recipe, Sparsify) for recipe in recipes if kind_of(recipe) == "pruned"]
    return all(dense) if dense else None
