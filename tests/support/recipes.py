"""Recipes from plain data, as a stack file's YAML gives them."""

from pydantic import TypeAdapter, ValidationError

from variants.document import explain
from variants.errors import RecipeError
from variants.recipes.recipe import Recipe

RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)


def parse_recipe(data: object) -> Recipe:
    """RecipeError names the field that is wrong."""
    try:
        return RECIPE.validate_python(data)
    except ValidationError as error:
        fault = explain(error)
        raise RecipeError(fault.message, field=f"recipe.{(fault.field or '').partition('.')[2]}".rstrip(".")) from error
