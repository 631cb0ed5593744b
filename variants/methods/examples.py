"""The labelled examples that a method learns from or looks at, refused before any work where a task has too few."""

from variants.errors import RecipeError
from variants.tasks import Example, Split, Task


def first(task: Task, split: Split, count: int, field: str) -> list[Example]:
    """The first examples of a split. RecipeError, naming `field`, where there are fewer."""
    try:
        return task.examples(split, count)
    except ValueError as error:
        raise RecipeError(str(error), field=field, mend="ask for fewer") from None
