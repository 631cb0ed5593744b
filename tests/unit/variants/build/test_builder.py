import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.loss import Loss
from variants.artifacts.manifest import Format
from variants.artifacts.rollback import roll_back
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build, in_order
from variants.errors import IntegrityError, RecipeError, SourceError, UnderstudyError, UnknownName
from variants.methods.registry import BuildJob, Method, MethodResult
from variants.recipes.recipe import Recipe
from variants.recipes.source import Source
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile

BASELINE = parse_recipe({"kind": "baseline", "dtype": "bfloat16"})
W8A8 = parse_recipe({"kind": "quantize", "scheme": "w8a8"})
CHANNELS = {
    "kind": "prune", "structure": "channels", "sparsity": 0.5,
    "recovery": {"task": "mnist", "examples": 64, "epochs": 1},
}  # fmt: skip
LORA = {"kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 10}


class Upper(Method):
    """A method for tests: writes its input in capitals, and counts."""

    ran: list[str]
    losses: ClassVar[dict[str, Loss]] = {}

    def run(self, job: BuildJob) -> MethodResult:
        self.ran.append(self.name)
        text = job.parent.model_path / "text" if job.parent else job.source
        assert text is not None
        (job.out / "text").write_text(text.read_text().upper() + "!")
        (job.out / "extra").write_text("not served")
        form: Format = "adapter" if job.recipe.kind == "lora" else "huggingface"
        lost = self.losses.get(job.recipe.kind)
        return MethodResult("bf16", form, "capitals", (), served=("text",), loss=lost)


class World:
    """A home with one source file, and methods that count."""

    def __init__(self, home: Path) -> None:
        self.ran: list[str] = []
        self.said: list[str] = []
        self.version = 1
        self.file = home / "source.txt"
        self.file.write_text("abc")
        self.source = Source(uri=str(self.file), licence="MIT")
        self.store, self.catalog = Store(home), Catalog(home)

    def plan(self, variant: str, parent: str | None = None, recipe: Recipe = BASELINE, seed: int = 0) -> VariantPlan:
        return VariantPlan("m", variant, "text-generation", self.source, recipe, parent, seed)

    def method_for(self, task: str, recipe: Recipe, field: str) -> Method:
        method = Upper(recipe.kind, self.version, "")
        object.__setattr__(method, "ran", self.ran)
        return method

    def build(self, *plans: VariantPlan) -> dict[tuple[str, str], str]:
        artifacts = build(plans, self.store, self.catalog, method_for=self.method_for, say=self.said.append)
        return {name: artifact.manifest.key for name, artifact in artifacts.items()}

    def digests(self, variant: str) -> list[str]:
        return [binding.digest for binding in self.catalog.model("m").history(variant)]


def own_task(folder: Path, question: str) -> Tasks:
    (folder / "rows.csv").write_text("text,kind\n" + "".join(f"row {k},{'ab'[k % 2]}\n" for k in range(20)))
    definition = {"data": {"uri": str(folder / "rows.csv")}, "input": question, "label": "kind", "scorer": "choice"}
    return Tasks({"own": TaskFile.model_validate(definition)})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_a_method_refuses_says_which_variant_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(method: Upper, job: BuildJob) -> MethodResult:
        raise RecipeError("there are 512 texts, not 600", field="recipe.calibration.examples")

    monkeypatch.setattr(Upper, "run", refuse)
    with pytest.raises(RecipeError) as refused:
        world.build(world.plan("baseline"))
    assert refused.value.field == "models.m.variants.baseline.recipe.calibration.examples"
    world.file.unlink()
    with pytest.raises(SourceError) as refused_source:
        world.build(world.plan("baseline"))
    assert str(refused_source.value.field).startswith("models.m.source")


def test_parents_come_first_and_their_bytes_reach_the_variant(world: World) -> None:
    keys = world.build(world.plan("int8", "baseline", W8A8), world.plan("baseline"))
    assert world.ran == ["baseline", "quantize"]
    child = world.store.open(keys["m", "int8"])
    assert (child.model_path / "text").read_text() == "ABC!!"
    assert child.manifest.effort is not None
    parent = world.store.open(keys["m", "baseline"])
    assert child.manifest.parent_digest == parent.manifest.digest
    assert child.manifest.sources == (world.source,)
    assert child.manifest.bytes == 5


def test_nothing_is_built_twice(world: World) -> None:
    plans = world.plan("baseline"), world.plan("int8", "baseline", W8A8)
    assert world.build(*plans) == world.build(*plans)
    assert world.ran == ["baseline", "quantize"]


def test_what_is_there_is_verified_once_and_handed_out(world: World) -> None:
    class Counting(Store):
        opened: ClassVar[list[str]] = []

        def open(self, key: str) -> Artifact:
            self.opened.append(key)
            return super().open(key)

    keys = world.build(world.plan("baseline"), world.plan("int8", "baseline", W8A8))
    world.store = Counting(world.store.home)
    plans = world.plan("baseline"), world.plan("int8", "baseline", W8A8)
    artifacts = build(plans, world.store, world.catalog, method_for=world.method_for)
    assert {name: artifact.path.name for name, artifact in artifacts.items()} == keys
    assert sorted(Counting.opened) == sorted(keys.values())
    (artifacts["m", "int8"].model_path / "text").write_text("ABC!?")
    with pytest.raises(IntegrityError, match="expected sha256"):
        world.build(*plans)


@pytest.mark.parametrize("change", ["source", "seed", "method"])
def test_what_decides_the_bytes_decides_the_key(world: World, change: str) -> None:
    plans: Callable[[int], tuple[VariantPlan, ...]] = lambda seed: (  # noqa: E731
        world.plan("baseline", seed=seed),
        world.plan("int8", "baseline", W8A8),
    )
    before = world.build(*plans(0))
    if change == "source":
        world.file.write_text("abd")
    world.version += change == "method"
    after = world.build(*plans(1 if change == "seed" else 0))
    assert before["m", "baseline"] != after["m", "baseline"]
    # The child's key hangs on its parent's bytes, so a parent that comes out the same is not a reason to
    # rebuild.
    same_child = before["m", "int8"] == after["m", "int8"]
    assert same_child is (change == "seed")


def test_the_catalog_knows_what_was_built(world: World) -> None:
    keys = world.build(world.plan("baseline"))
    world.file.write_text("second")
    newer = world.build(world.plan("baseline"))
    history = world.catalog.model("m").variants["baseline"]
    assert [binding.key for binding in history] == [keys["m", "baseline"], newer["m", "baseline"]]
    assert world.catalog.model("m").current("baseline").key == newer["m", "baseline"]


@pytest.mark.parametrize(
    ("links", "error", "says"),
    [
        ({"a": "b", "b": "a"}, RecipeError, "a -> b -> a"),
        ({"a": "a"}, RecipeError, "cycle"),
        ({"a": "c", "b": None}, UnknownName, r"parent 'c' is not a variant of m \(one of b\)"),
    ],
)
def test_bad_families_are_refused_before_any_work(
    world: World, links: dict[str, str | None], error: type[UnderstudyError], says: str
) -> None:
    with pytest.raises(error, match=says) as refused:
        world.build(*(world.plan(name, parent) for name, parent in links.items()))
    assert refused.value.field == "models.m.variants.a.parent"
    assert world.ran == []


def test_one_name_twice_is_refused(world: World) -> None:
    with pytest.raises(RecipeError, match="planned twice"):
        in_order([world.plan("a"), world.plan("a")])


@pytest.mark.parametrize(
    "recipe",
    [
        CHANNELS,
        {**LORA, "architecture": "efficientnet-lite0", "image_size": 64},
        {"kind": "quantize", "scheme": "bf16"},
    ],
)
def test_a_recipe_without_a_method_is_refused_before_any_work(world: World, recipe: dict[str, object]) -> None:
    plans = [world.plan("baseline"), world.plan("small", "baseline", parse_recipe(recipe))]
    known = "for this task: adapter, baseline, lora, merge, prune layers, published, quantize"
    with pytest.raises(RecipeError, match=known) as refused:
        build(plans, world.store, world.catalog)
    assert refused.value.field == "models.m.variants.small.recipe"
    assert not world.store.root.exists()


def test_a_text_adapter_is_not_for_images(world: World) -> None:
    plan = VariantPlan("m", "lora", "image-classification", world.source, parse_recipe(LORA))
    with pytest.raises(RecipeError, match=r"no method makes 'lora' for image.*lora efficientnet-lite0"):
        build([plan], world.store, world.catalog)


@pytest.mark.parametrize(
    ("recipe", "parent", "says"),
    [
        (CHANNELS, None, "torch-pruning-channels needs a parent"),
        ({"kind": "quantize", "scheme": "bf16"}, None, "openvino-bf16 needs a parent"),
        (
            {**LORA, "architecture": "efficientnet-lite0", "image_size": 64},
            "baseline",
            "starts from the model's source",
        ),
    ],
)
def test_the_wrong_thing_to_start_from_is_refused_before_any_work(
    world: World, recipe: dict[str, object], parent: str | None, says: str
) -> None:
    plans = [
        VariantPlan("m", name, "image-classification", world.source, parse_recipe(recipe), of)
        for name, recipe, of in (
            ("baseline", {"kind": "baseline", "dtype": "float32"}, None),
            ("small", recipe, parent),
        )
    ]
    with pytest.raises(RecipeError, match=says) as refused:
        build(plans, world.store, world.catalog)
    assert refused.value.field == "models.m.variants.small.parent"
    assert not world.store.root.exists()


def test_an_unknown_task_in_a_recovery_is_refused_before_any_work(world: World) -> None:
    recipe = parse_recipe({**CHANNELS, "recovery": {"task": "imdb", "examples": 64, "epochs": 1}})
    with pytest.raises(UnknownName, match="there is no task 'imdb'"):
        world.build(world.plan("baseline"), world.plan("small", "baseline", recipe))
    assert world.ran == []


def test_an_unknown_task_in_a_recipe_is_refused_before_any_work(world: World) -> None:
    recipe = parse_recipe({"kind": "lora", "task": "imdb", "rank": 8, "alpha": 16, "steps": 10})
    with pytest.raises(UnknownName, match="there is no task 'imdb'"):
        world.build(world.plan("small", recipe=recipe))
    assert world.ran == []


def test_a_name_that_was_rolled_back_keeps_its_build(world: World) -> None:
    plans = world.plan("baseline"), world.plan("int8", "baseline", W8A8)
    first = world.build(*plans)
    world.file.write_text("second")
    second = world.build(*plans)
    roll_back(world.store, world.catalog, "m", "baseline")
    ran = len(world.ran)
    world.said.clear()
    kept = world.build(*plans)
    assert kept == first, "the variant is made of what is bound"
    assert len(world.ran) == ran
    newer = world.digests("baseline")[1][:8]
    assert world.said == [
        f"m@baseline was rolled back and stays at {world.digests('baseline')[0][:8]}; its recipe makes {newer}: "
        f"understudy rollback m@baseline {newer} goes forward again"
    ]
    roll_back(world.store, world.catalog, "m", "baseline", newer)
    assert world.build(*plans) == second
    assert len(world.said) == 1


def test_a_recipe_that_was_never_built_takes_a_name_that_was_rolled_back(world: World) -> None:
    world.build(world.plan("baseline"))
    world.file.write_text("second")
    world.build(world.plan("baseline"))
    roll_back(world.store, world.catalog, "m", "baseline")
    world.file.write_text("third")
    third = world.build(world.plan("baseline"))
    assert world.catalog.model("m").current("baseline").key == third["m", "baseline"]
    assert world.said == []
    back = roll_back(world.store, world.catalog, "m", "baseline")
    assert back.now.digest == world.digests("baseline")[0], "not the build that was rolled back from"


def test_a_rollback_during_a_build_is_not_undone_by_it(world: World) -> None:
    world.build(world.plan("baseline"))
    world.file.write_text("second")
    world.build(world.plan("baseline"))
    first, second = world.digests("baseline")

    class Slow(Store):
        def open(self, key: str) -> Artifact:
            artifact = super().open(key)
            if artifact.manifest.digest == second:  # the builder has found its work done; before it binds the name:
                roll_back(Store(self.home), world.catalog, "m", "baseline")
            return artifact

    plans = [world.plan("baseline")]
    store = Slow(world.store.home)
    (artifact,) = build(plans, store, world.catalog, method_for=world.method_for, say=world.said.append).values()
    assert artifact.manifest.digest == first
    assert world.digests("baseline") == [first, second, first]
    assert len(world.said) == 1


def test_a_rollback_needs_the_build_to_be_there_and_whole(world: World) -> None:
    keys = world.build(world.plan("baseline"))
    world.file.write_text("second")
    world.build(world.plan("baseline"))
    before = world.catalog.model("m")
    file = world.store.path(keys["m", "baseline"]) / "model" / "text"
    file.write_text("changed")
    with pytest.raises(IntegrityError, match="expected sha256"):
        roll_back(world.store, world.catalog, "m", "baseline")
    shutil.rmtree(file.parent.parent)
    with pytest.raises(IntegrityError, match=f"{world.digests('baseline')[0][:8]} of m@baseline is not in the store"):
        roll_back(world.store, world.catalog, "m", "baseline")
    assert world.catalog.model("m") == before


def test_the_definition_and_the_data_of_an_own_task_are_inputs_of_what_is_built_with_it(
    world: World, tmp_path: Path
) -> None:
    calibration = {"task": "own", "examples": 2}
    recipe = parse_recipe({"kind": "quantize", "scheme": "w8a8", "algorithm": "gptq", "calibration": calibration})

    def key(tasks: Tasks) -> str:
        quantized = replace(world.plan("int8", "baseline", recipe), tasks=tasks)
        return world.build(world.plan("baseline"), quantized)["m", "int8"]

    first = key(own_task(tmp_path, "{{ text }}:"))
    assert key(own_task(tmp_path, "{{ text }}:")) == first
    assert key(own_task(tmp_path, "{{ text }}?")) != first
    tasks = own_task(tmp_path, "{{ text }}:")
    (tmp_path / "rows.csv").write_text((tmp_path / "rows.csv").read_text() + "row 20,a\n")
    assert key(tasks) != first
    with pytest.raises(UnknownName, match="own"):
        key(Tasks())


def accuracy(variant: float) -> Loss:
    return Loss(measure="accuracy", task="mnist", examples=100, parent=0.882, variant=variant)


def test_a_build_says_what_it_lost_and_its_manifest_has_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upper, "losses", {"quantize": accuracy(0.86)})
    keys = world.build(world.plan("baseline"), world.plan("int8", "baseline", W8A8))
    assert world.said == [
        "m@int8: it loses 2.2 points on 100 calibration examples of mnist: accuracy 86.0 %, its parent 88.2 %"
    ]
    assert world.store.open(keys["m", "int8"]).manifest.loss == accuracy(0.86)
    assert world.store.open(keys["m", "baseline"]).manifest.loss is None


def test_a_build_that_loses_too_much_is_no_artifact(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Upper, "losses", {"quantize": accuracy(0.386)})
    with pytest.raises(RecipeError, match=r"it loses 49\.6 points on 100 .*; 20 points are allowed") as refused:
        world.build(world.plan("baseline"), world.plan("int8", "baseline", W8A8))
    assert refused.value.field == "models.m.variants.int8.recipe.most_loss"
    assert [each.manifest.variant for each in map(world.store.open, world.store.stored())] == ["baseline"]


def test_the_limit_decides_whether_a_build_is_kept_and_not_which_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upper, "losses", {"quantize": accuracy(0.386)})
    any_loss = parse_recipe({"kind": "quantize", "scheme": "w8a8", "most_loss": None})
    keys = world.build(world.plan("baseline"), world.plan("int8", "baseline", any_loss))
    assert world.store.has(keys["m", "int8"])
    with pytest.raises(RecipeError, match=r"it loses 49\.6 points"):
        world.build(world.plan("baseline"), world.plan("int8", "baseline", W8A8))
    half = parse_recipe({"kind": "quantize", "scheme": "w8a8", "most_loss": 0.5})
    assert world.build(world.plan("baseline"), world.plan("int8", "baseline", half)) == keys
    assert world.ran == ["baseline", "quantize"]


def test_numbers_that_are_not_finite_are_refused_whatever_is_allowed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    perplexity = Loss(measure="perplexity", task="tales", examples=8, parent=20.0, variant=float("nan"))
    monkeypatch.setattr(Upper, "losses", {"quantize": perplexity})
    any_loss = parse_recipe({"kind": "quantize", "scheme": "w8a8", "most_loss": None})
    with pytest.raises(RecipeError, match="not finite"):
        world.build(world.plan("baseline"), world.plan("int8", "baseline", any_loss))
