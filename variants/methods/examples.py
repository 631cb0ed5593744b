"""The labelled examples that a method learns from or looks at, refused before any work where a task has none such."""

from variants import tasks
from variants.errors import RecipeError
from variants.methods.base import Job
from variants.tasks import Example, Split, Task


def image_task(job: Job, name: str, field: str) -> Task:
    """The task of that name, whose examples are images. RecipeError, naming `field`, when they are not."""
    task = tasks.get(name, job.home, job.progress)
    if task.kind != "image":
        raise RecipeError(f"{task.name} is not an image task", field=field, mend="mnist")
    return task


def first(task: Task, split: Split, count: int, field: str) -> list[Example]:
    """The first examples of a split. RecipeError, naming `field`, where there are fewer."""
    try:
        return task.examples(split, count)
    except ValueError as error:
        raise RecipeError(str(error), field=field, mend="ask for fewer") from None
