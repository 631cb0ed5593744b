"""Training data: checks that the tasks of a recipe suit the model's family.

The family alone decides which kinds of examples a method reads. So this is checked before any fetch or build, and
methods rely on it. The number of a task's examples is known only when its data is read, so methods check that.
"""

from collections.abc import Iterator

from variants.artifacts.manifest import TaskKind
from variants.errors import RecipeError, UnknownName
from variants.metrics.answer_scores import SCORES
from variants.metrics.kinds import LEARNT
from variants.recipes.recipe import (
    Diffusion,
    LoRA,
    PluginRecipe,
    Prune,
    Quantize,
    Recipe,
    Sparsify,
    Train,
    TrainDetector,
    TrainText,
)
from variants.tasks import BUILT_IN, Tasks

_TEXTS = ("article", "choice", "pair", "passage", "text", "triplet")
_LEARNT: dict[TaskKind, tuple[str, ...]] = {
    "text-generation": ("text", *LEARNT),
    "text-classification": ("article",),
    "feature-extraction": (),
    "image-classification": ("image",),
    "object-detection": ("boxes",),
    "image-generation": ("image",),
}
_CALIBRATED_ON: dict[TaskKind, tuple[str, ...]] = {
    "text-generation": ("passage", "text"),
    "text-classification": _TEXTS,
    "feature-extraction": _TEXTS,
    "image-classification": ("image", "ranked"),
    "object-detection": ("boxes", "image", "ranked"),
    "image-generation": ("drawing",),
}
"""Also the kinds of generated answers, for text generation (`_fits`)."""
_ANY: dict[TaskKind, tuple[str, ...]] = {}
"""For plug-ins, which know by themselves what they read."""


def tasks_of(recipe: Recipe) -> tuple[str, ...]:
    """The names of the tasks in `recipe`."""
    return tuple(name for _, name, _ in _looked_at(recipe))


def check_tasks(family: TaskKind, recipe: Recipe, field: str, tasks: Tasks = BUILT_IN) -> None:
    """Check the tasks of `recipe`. UnknownName for an unknown task, RecipeError for one whose examples do not suit
    `family`. Both have a path below `field`."""
    for place, name, kinds in _looked_at(recipe):
        if name not in tasks.names:
            mend = f"one of {', '.join(tasks.names)}"
            raise UnknownName(f"there is no task {name!r}", field=f"{field}.{place}", mend=mend)
        kind = tasks.kind(name)
        if not _fits(kind, family, kinds):
            fit = tasks.of_kinds(_kinds(family, kinds))
            message = f"a model for {family} learns nothing from {name}, whose examples are of kind {kind}"
            mend = f"one of {', '.join(fit)}" if fit else "leave it out"
            raise RecipeError(message, field=f"{field}.{place}", mend=mend)


def _fits(kind: str, family: TaskKind, kinds: dict[TaskKind, tuple[str, ...]]) -> bool:
    return kinds is _ANY or kind in _kinds(family, kinds)


def _kinds(family: TaskKind, kinds: dict[TaskKind, tuple[str, ...]]) -> tuple[str, ...]:
    generated = kinds is _CALIBRATED_ON and family == "text-generation"
    return (*kinds[family], *SCORES) if generated else kinds[family]


def _looked_at(recipe: Recipe) -> Iterator[tuple[str, str, dict[TaskKind, tuple[str, ...]]]]:
    """For each task of the recipe: its path, its name, and the suitable kinds of examples by family."""
    if isinstance(recipe, Train | TrainText | TrainDetector | Diffusion | LoRA):
        yield "task", recipe.task, _LEARNT
    if isinstance(recipe, Quantize | Prune | Sparsify) and recipe.calibration:
        yield "calibration.task", recipe.calibration.task, _CALIBRATED_ON
    if isinstance(recipe, Prune) and recipe.recovery:
        yield "recovery.task", recipe.recovery.task, _LEARNT
    if isinstance(recipe, Prune) and recipe.distillation:
        for name in recipe.distillation.tasks:
            yield "distillation.tasks", name, _LEARNT
    if isinstance(recipe, PluginRecipe):
        for name in recipe.tasks:
            yield "tasks", name, _ANY
