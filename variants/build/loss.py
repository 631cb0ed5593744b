"""What a build lost on calibration examples, and whether its recipe allows that."""

from math import isfinite

from variants.artifacts.loss import Loss
from variants.artifacts.manifest import TaskKind
from variants.errors import InputError, MissingDependency, RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.gauge import loss_of
from variants.methods.quiet import quiet_libraries
from variants.recipes.recipe import Lossy, Recipe


def measure(task: TaskKind, job: BuildJob, made: MethodResult) -> tuple[Loss | None, str]:
    """The loss of what was made, and a sentence about it: empty for a recipe that loses nothing. The loss is None where
    it was not measured; the sentence says why then. RecipeError where the variant computes no finite numbers."""
    if not isinstance(job.recipe, Lossy) or job.parent is None:
        return None, ""
    try:
        with quiet_libraries():
            loss = made.loss or loss_of(task, job, made)
    except (InputError, MissingDependency) as error:  # data that building did not need so far
        return None, f"its loss was not measured: {error}"
    if loss is None:
        named = "neither the recipe nor `evaluate` names a task with calibration examples for it"
        return None, f"its loss was not measured: {named}"
    if not isfinite(loss.variant):
        message = f"on calibration examples of {loss.task} it computes numbers that are not finite"
        raise RecipeError(message, field="recipe", mend="another scheme")
    loss = loss.model_copy(update={"kept": made.kept})
    return loss, loss.sentence()


def check(recipe: Recipe, loss: Loss | None, field: str) -> None:
    """RecipeError, with the figures, where a build of `recipe` lost more than it may. `field` is the recipe's path."""
    if loss is None or not isinstance(recipe, Lossy):
        return
    limit = recipe.limit(loss.measure)
    if limit is None or loss.lost <= limit:
        return
    allowed = f"{limit:.0%} more perplexity" if loss.measure == "perplexity" else f"{100 * limit:g} points"
    mend = "most_loss: null takes it as it is" if recipe.keeps else "keep: auto, or most_loss: null takes it as it is"
    raise RecipeError(f"{loss.sentence()}; {allowed} are allowed", field=f"{field}.most_loss", mend=mend)
