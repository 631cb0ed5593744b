"""What every task, scorer and method must do: those that are built in, and the plug-ins of docs/plugins beside them.

Tasks whose data no package carries, and those that are drawn for minutes, are checked as far as that goes without data.
Methods are carried out where that takes seconds.
"""

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.support.plugins import install_templates, installed_in
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.methods.registry import _METHODS, Method, find
from variants.metrics.answer_scores import BUILT_IN, SCORES, score_of
from variants.metrics.kinds import OTHER_KINDS
from variants.metrics.scoring import is_correct
from variants.recipes.family import kind_of
from variants.recipes.source import Source
from variants.tasks import NAMES, Prompt, Split, Tasks
from variants.tasks.requests import request_for

pytestmark = pytest.mark.integration
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
WITHOUT_DATA = {"coco96", "imagenet", "imagenet_top5", "scenes"}
TYPES: dict[str, type] = {
    **dict.fromkeys(("image", "ranked", "boxes"), bytes),
    **dict.fromkeys(("triplet", "choice"), tuple),
    **dict.fromkeys(("drawing", "picture"), Prompt),
}
BUILDS: dict[str, list[dict[str, Any]]] = {
    "baseline": [{"kind": "baseline", "dtype": "bfloat16"}],
    "keep": [{"kind": "plugin", "method": "keep", "options": {"bytes": 7}}],
    "fp16": [{"kind": "baseline", "dtype": "bfloat16"}, {"kind": "quantize", "scheme": "fp16"}],
    "magnitude": [
        {"kind": "baseline", "dtype": "bfloat16"},
        {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5},
    ],
}
"""Chains of recipes, each from the one before."""
LABELS = {"json": ("42", '{"a": [1]}'), "schema": ('{"a": [1]}', '{"type": "object"}')}
"""Of scorers that take no other text for a label."""


@pytest.fixture(scope="module", autouse=True)
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed_in(install_templates(tmp_path_factory.mktemp("plugins"))):
        yield


def test_the_templates_are_there() -> None:
    assert set(Tasks().names) == {*NAMES, "colours"}
    assert set(SCORES) == {*BUILT_IN, "letters"}


@pytest.mark.parametrize("name", [*NAMES, "colours"])
def test_a_task_says_what_it_is_without_its_data(name: str) -> None:
    task = Tasks().get(name)
    assert task.name == name
    assert name in Tasks()
    assert Tasks().kind(name) == task.kind
    assert task.kind in (*OTHER_KINDS, *SCORES)
    assert task.metrics
    assert task.metrics[0].unit in ("share", "")
    assert json.loads(json.dumps(dict(task.fields))) == dict(task.fields)


@pytest.mark.parametrize("name", sorted({*NAMES, "colours"} - WITHOUT_DATA))
def test_a_tasks_splits_are_fixed_and_the_test_shares_nothing(name: str) -> None:
    task, again = Tasks().get(name), Tasks().get(name)
    splits = {split: task.examples(split) for split in SPLITS}
    assert splits == {split: again.examples(split) for split in splits}
    assert task.test_sha256 == again.test_sha256
    assert splits["test"]
    seen = [*splits["train"], *splits["calibration"]]
    assert not {example.input for example in splits["test"]} & {example.input for example in seen}
    every = [*splits["test"], *seen]
    for examples in splits.values():
        assert len({example.id for example in examples}) == len(examples)
    assert not {example.id for example in splits["test"]} & {example.id for example in seen}
    assert {type(example.input) for example in every} == {TYPES.get(task.kind, str)}
    if task.labels:
        assert {example.label for example in splits["test"]} <= set(task.labels)
    with pytest.raises(ValueError, match="examples in its test split"):
        task.examples("test", len(splits["test"]) + 1)
    assert request_for(task.kind, "m", splits["test"][0].input, task.fields).body


@pytest.mark.parametrize("name", [*BUILT_IN, "letters"])
def test_a_scorer_gives_a_share_and_1_for_the_label_itself(name: str) -> None:
    for label in ("42", '{"a": [1]}', '{"type": "object"}', "7 o'clock", "\u00e9t\u00e9 7"):
        if name not in LABELS or label in LABELS[name]:
            assert name in ("number", "regex") or score_of(name, label, label) == 1
        for answer in ("", " ", "x" * 100_000, "\x00\ud800", label.upper(), "{", "NaN", "\u221e 3"):
            score = score_of(name, answer, label)
            assert isinstance(score, float)
            assert 0 <= score <= 1
            assert is_correct(name, answer, label) is (score == 1)
            assert score_of(name, answer, label) == score
    assert score_of(name, "42", '{"type": "integer"}' if name == "schema" else "42") == 1


def methods() -> Iterator[Method]:
    for of_task in _METHODS.values():
        yield from of_task.values()
    yield find("text-generation", parse_recipe(BUILDS["keep"][0]))


def test_every_method_has_a_name_a_version_and_a_function_of_a_job() -> None:
    for method in methods():
        assert method.version >= 1, method
        assert method.starts_from in ("source", "parent", "either", "both")
        call = method.target
        if isinstance(call, str):
            module, _, function = call.partition(":")
            call = getattr(import_module(f"variants.methods.{module}"), function)
        assert next(iter(inspect.signature(call).parameters)) == "job", method
    names = [(method.name, method.version, str(method.target)) for method in methods()]
    assert len({name for name, _, _ in names}) == len({(name, version) for name, version, _ in names})


def carried_out(recipes: list[dict[str, Any]], source: Path, home: Path) -> list[Artifact]:
    """The artifacts of a chain, built below `home`."""
    plans = [
        VariantPlan(
            model="m", variant=f"v{at}", task="text-generation", source=Source(uri=str(source), licence="none"),
            recipe=parse_recipe(recipe), parent=f"v{at - 1}" if at else None,
        )
        for at, recipe in enumerate(recipes)
    ]  # fmt: skip
    made = build(plans, Store(home), Catalog(home), say=print)
    return [made["m", plan.variant] for plan in plans]


@pytest.mark.parametrize("name", BUILDS)
def test_a_method_makes_the_same_artifact_each_time_and_says_how(name: str, tmp_path: Path, tiny_llama: Path) -> None:
    source = tmp_path / "bytes"
    source.write_bytes(b"0123456789")
    source = source if name == "keep" else tiny_llama
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    first, second = (carried_out(BUILDS[name], source, tmp_path / home)[-1] for home in ("one", "two"))
    assert first.manifest.key == second.manifest.key
    assert first.manifest.digest == second.manifest.digest
    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    again = carried_out(BUILDS[name], source, tmp_path / "one")[-1]
    assert again.manifest == first.manifest  # taken from the store: `created` is the same
    assert first.manifest.note
    assert first.manifest.recipe == parse_recipe(BUILDS[name][-1])
    assert kind_of(first.manifest.recipe)
    assert all(distribution(package).version for package in first.manifest.versions)
    assert all((first.path / file).is_file() for file in first.manifest.files)


@pytest.mark.parametrize("name", BUILDS)
def test_a_method_with_a_wrong_start_is_refused_before_work(name: str, tmp_path: Path) -> None:
    recipe = parse_recipe(BUILDS[name][-1])
    method = find("text-generation", recipe)
    plan = VariantPlan("m", "v", "text-generation", Source(uri="/none", licence="none"), recipe)
    plans = [plan]
    if method.starts_from == "source":
        plans = [plan, replace(plan, variant="w", parent="v")]
    with pytest.raises(RecipeError, match=r"needs a parent|starts from the model's source"):
        build(plans, Store(tmp_path), Catalog(tmp_path))
