"""The labelled examples that a method reads. A task with too few of them is refused before any work."""

from collections.abc import Iterator, Sequence

from variants.errors import RecipeError
from variants.methods.base import BuildJob
from variants.recipes.recipe import Calibration, Prune, Quantize, Recovery, Sparsify
from variants.tasks import Example, Split, Task


def first_examples(job: BuildJob, task: str, split: Split, count: int, field: str) -> tuple[Task, list[Example]]:
    """The task of that name, and the first `count` examples of a split. RecipeError, naming `field`, where there are
    fewer."""
    loaded = job.tasks.get(task, job.home, job.progress)
    try:
        return loaded, loaded.examples(split, count)
    except ValueError as error:
        raise RecipeError(str(error), field=field, mend="ask for fewer") from None


def calibration_examples(job: BuildJob, calibration: Calibration | None) -> tuple[Task, list[Example]]:
    """The task and the examples that a recipe is calibrated on. RecipeError where there are too few."""
    assert calibration is not None
    return first_examples(job, calibration.task, "calibration", calibration.examples, "recipe.calibration.examples")


def recovery_examples(job: BuildJob[Prune]) -> tuple[Recovery, Task, list[Example]]:
    """How a pruned model is trained again, and the task and the examples for it. RecipeError where there are too few,
    or where the task's labels are not the parent's."""
    recovery = job.recipe.recovery
    assert recovery is not None
    assert job.parent is not None
    if job.tasks.get(recovery.task, job.home, job.progress).labels != job.parent.manifest.labels:
        mend = "the task that the parent was trained on"
        raise RecipeError(f"{recovery.task} has other labels than the parent", field="recipe.recovery.task", mend=mend)
    field = "recipe.recovery.examples"
    return recovery, *first_examples(job, recovery.task, "train", recovery.examples, field)


def gauge_examples(job: BuildJob, kinds: Sequence[str], most: int) -> tuple[Task, list[Example]] | None:
    """A task of one of `kinds`, and up to `most` of its calibration examples: the first of the recipe that has some, or
    else of those that the model is evaluated on. None where there is no such task."""
    for name in named_tasks(job):
        if job.tasks.kind(name) in kinds:
            task = job.tasks.get(name, job.home, job.progress)
            if examples := task.examples("calibration")[:most]:
                return task, examples
    return None


def named_tasks(job: BuildJob) -> Iterator[str]:
    """The tasks that the recipe compresses on, then those that the model is evaluated on."""
    recipe = job.recipe
    if isinstance(recipe, Quantize | Prune | Sparsify) and recipe.calibration:
        yield recipe.calibration.task
    if isinstance(recipe, Prune) and recipe.recovery:
        yield recipe.recovery.task
    yield from job.evaluate
