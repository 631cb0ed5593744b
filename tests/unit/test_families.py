"""The pages of families: each built-in method has a row, and each recipe is one that the method takes."""

import re

import pytest
import yaml
from pydantic import TypeAdapter

from tests.support.processes import ROOT
from variants.methods.registry import BUILT_IN, find
from variants.recipes.recipe import Recipe

FOLDER = ROOT / "docs" / "families"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
ROW = re.compile(r"^\| ([\w-]+) \| `(\{kind: .*?\})` \|", re.MULTILINE)
RECIPES: TypeAdapter[Recipe] = TypeAdapter(Recipe)
ROWS = [(path.stem, name, recipe) for path in PAGES for name, recipe in ROW.findall(path.read_text())]


@pytest.mark.parametrize(("task", "name", "recipe"), ROWS)
def test_a_row_has_a_recipe_of_its_method(task: str, name: str, recipe: str) -> None:
    assert find(task, RECIPES.validate_python(yaml.safe_load(recipe))).name == name


def test_every_built_in_method_has_a_row() -> None:
    assert {name for _, name, _ in ROWS} == BUILT_IN


def test_the_first_page_lists_the_others() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [path.name for path in PAGES]
