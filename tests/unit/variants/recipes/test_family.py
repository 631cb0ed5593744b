"""What a recipe makes: every recipe that can be written has a kind."""

from typing import get_args

import pytest

from tests.support.recipes import parse_recipe
from variants.recipes.family import kind_of, kind_of_line, structured
from variants.recipes.recipe import Merge, Recipe, Sparsify

BASE = parse_recipe({"kind": "baseline", "dtype": "float32"})
INT8 = parse_recipe({"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 9}})
LAYERS = parse_recipe(
    {"kind": "prune", "structure": "layers", "drop_layers": 2, "calibration": {"task": "r8", "examples": 9}}
)
LORA = parse_recipe({"kind": "lora", "task": "r8", "rank": 8, "alpha": 16, "steps": 9})


def test_every_recipe_has_a_kind() -> None:
    for recipe in get_args(get_args(Recipe)[0]):
        assert kind_of(recipe.model_construct(kind=recipe.model_fields["kind"].default))


@pytest.mark.parametrize(
    ("line", "kind", "dense"),
    [
        ([BASE], "baseline", None),
        ([BASE, INT8], "quantized", None),
        ([BASE, LAYERS], "pruned", True),
        ([BASE, LORA], "lora", None),
        ([BASE, LAYERS, INT8], "chain", True),
        ([BASE, LORA, Merge()], "lora", None),
        ([BASE, LORA, Merge(), INT8], "chain", None),
        ([BASE, Sparsify(algorithm="magnitude", sparsity=0.5)], "pruned", False),
        ([LORA], "lora", None),
    ],
)
def test_kinds_follow_the_line_of_parents(line: list[Recipe], kind: str, dense: bool | None) -> None:
    assert (kind_of_line(line), structured(line)) == (kind, dense)
