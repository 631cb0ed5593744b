"""A recipe that looks at examples which teach its model nothing is refused by the task's name, before any work."""

from pathlib import Path
from typing import Any

import pytest

from serve.config.loader import load
from tests.support.recipes import parse_recipe
from tests.unit.variants.build.test_builder import World
from variants.artifacts.manifest import TaskKind
from variants.build.training_data import check_tasks, tasks_of
from variants.errors import RecipeError, UnknownName
from variants.metrics.kinds import LEARNT
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile

STACKS = sorted(Path("deploy/stacks").glob("*.yaml"))
RECOVERY = {"task": "mnist", "examples": 64, "epochs": 1}
CHANNELS = {"kind": "prune", "structure": "channels", "sparsity": 0.5, "recovery": RECOVERY}
HEADS = {**CHANNELS, "structure": "heads"}
LORA = {"kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 10}
INT8 = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "r8", "examples": 8}}
GPTQ = {"kind": "quantize", "scheme": "w8a8", "algorithm": "gptq", "calibration": {"task": "mnist", "examples": 8}}
DIFFUSION = {
    "kind": "diffusion", "task": "r8", "examples": 64, "width": 16, "deep_width": 16, "steps": 1,
}  # fmt: skip
LAYERS = {
    "kind": "prune", "structure": "layers", "drop_layers": 1,
    "calibration": {"task": "r8", "examples": 8}, "distillation": {"tasks": ["r8", "tales"], "steps": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "recipe", "field", "mend"),
    [
        ("text-generation", LORA, "task", "one of r8, rotten_tomatoes"),
        ("text-generation", GPTQ, "calibration.task", "one of r8, rotten_tomatoes, tales"),
        ("text-generation", LAYERS, "distillation.tasks", "one of r8, rotten_tomatoes"),
        ("text-classification", HEADS, "recovery.task", "one of r8_topics"),
        ("text-classification", {**LORA, "task": "r8"}, "task", "one of r8_topics"),
        (
            "text-classification",
            {**INT8, "calibration": {"task": "mnist", "examples": 8}},
            "calibration.task",
            "r8_topics, r8_triplets",
        ),
        ("feature-extraction", {**INT8, "calibration": {"task": "scenes", "examples": 8}}, "calibration.task", "r8"),
        ("image-classification", INT8, "calibration.task", "imagenet, imagenet_top5, mnist, mnist_top5"),
        ("image-classification", {**CHANNELS, "recovery": RECOVERY | {"task": "scenes"}}, "recovery.task", "mnist"),
        ("object-detection", CHANNELS, "recovery.task", "coco96, scenes"),
        ("object-detection", INT8, "calibration.task", "scenes"),
        ("image-generation", INT8, "calibration.task", "one of digit_prompts"),
        ("image-generation", DIFFUSION, "task", "mnist"),
        ("image-generation", {**CHANNELS, "recovery": RECOVERY | {"task": "r8"}}, "recovery.task", "mnist"),
    ],
)
def test_examples_of_another_kind_are_refused_and_those_that_do_are_named(
    family: TaskKind, recipe: dict[str, Any], field: str, mend: str
) -> None:
    with pytest.raises(RecipeError, match=f"a model for {family} learns nothing from ") as refused:
        check_tasks(family, parse_recipe(recipe), "models.m.variants.v.recipe")
    assert refused.value.field == f"models.m.variants.v.recipe.{field}"
    assert mend in str(refused.value.mend)


@pytest.mark.parametrize("scorer", [*LEARNT, "regex", "schema"])
def test_generated_answers_teach_where_the_label_is_a_right_answer(scorer: str) -> None:
    given: dict[str, Any] = {"data": {"uri": "./rows.csv"}, "input": "{{ text }}", "scorer": scorer}
    given |= {"schema": {"type": "string"}} if scorer == "schema" else {"label": "label"}
    tasks = Tasks({"own": TaskFile.model_validate(given)})
    for recipe in ({**LORA, "task": "own"}, {**LAYERS, "distillation": {"tasks": ["own"], "steps": 1}}):
        if scorer in LEARNT:
            check_tasks("text-generation", parse_recipe(recipe), "recipe", tasks)
            continue
        with pytest.raises(RecipeError, match=f"learns nothing from own, whose examples are of kind {scorer}"):
            check_tasks("text-generation", parse_recipe(recipe), "recipe", tasks)


def test_a_task_that_is_not_there_is_another_error() -> None:
    with pytest.raises(UnknownName, match="there is no task 'imdb'") as refused:
        check_tasks("text-generation", parse_recipe({**LORA, "task": "imdb"}), "recipe")
    assert refused.value.field == "recipe.task"


def test_no_parent_is_built_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(RecipeError, match="learns nothing from mnist"):
        world.build(world.plan("baseline"), world.plan("small", "baseline", parse_recipe(GPTQ)))
    assert world.ran == []


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_what_is_shipped_learns_from_what_its_family_reads(path: Path) -> None:
    for model in load(path).models.values():
        for variant in model.variants.values():
            check_tasks(model.task, variant.recipe, "recipe")


def test_the_tasks_of_a_recipe_are_all_that_it_looks_at() -> None:
    assert tasks_of(parse_recipe(LAYERS)) == ("r8", "r8", "tales")
    assert tasks_of(parse_recipe(CHANNELS)) == ("mnist",)
    assert tasks_of(parse_recipe({"kind": "merge"})) == ()
