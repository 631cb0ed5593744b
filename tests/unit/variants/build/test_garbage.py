import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.recipes import parse_recipe
from tests.unit.variants.artifacts.test_store import KEY, finish_one
from tests.unit.variants.build.test_builder import W8A8, World
from variants.artifacts.rollback import roll_back
from variants.artifacts.store import Store, hold
from variants.build.builder import VariantPlan
from variants.build.garbage import Collected, collect
from variants.errors import SourceError
from variants.files import shared
from variants.recipes.recipe import Merge
from variants.tasks import Tasks
from variants.tasks.data.rows import lock_of_copies
from variants.tasks.task_file import TaskFile

OWN = {"input": "{{ text }}", "label": "label", "scorer": "label"}
LORA = parse_recipe({"kind": "lora", "task": "rotten_tomatoes", "rank": 8, "alpha": 16, "steps": 10})


class Aged(World):
    """Three generations of a baseline and its variant; nothing is known of them but what the catalog says."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.generations: list[dict[str, str]] = []
        for text in ("first", "second", "third"):
            self.file.write_text(text)
            keys = self.build(*self.plans())
            self.generations.append({variant: key for (_, variant), key in keys.items()})

    def plans(self) -> list[VariantPlan]:
        return [self.plan("baseline"), self.plan("int8", "baseline", W8A8)]

    def collect(self, keep: int | None = None, dry_run: bool = False, stacks: int = 0) -> Collected:
        families = [self.plans()] * stacks
        return collect(self.store, self.catalog, families, keep, dry_run, method_for=self.method_for)

    def keys(self, *generations: int) -> list[str]:
        return sorted(key for number in generations for key in self.generations[number].values())

    def left(self) -> list[str]:
        return self.store.stored()


@pytest.fixture
def aged(tmp_path: Path) -> Aged:
    return Aged(tmp_path)


def test_what_a_history_names_stays(aged: Aged) -> None:
    assert aged.collect().removed == ()
    assert aged.left() == aged.keys(0, 1, 2)


def test_a_dry_run_says_what_the_run_does(aged: Aged) -> None:
    before = aged.catalog.model("m")
    would = aged.collect(keep=1, dry_run=True)
    assert aged.left() == aged.keys(0, 1, 2)
    assert aged.catalog.model("m") == before
    did = aged.collect(keep=1)
    assert did == would.model_copy(update={"dry_run": False})
    assert sorted(item.key for item in did.removed) == aged.keys(0)
    assert aged.left() == aged.keys(1, 2)
    assert did.freed_bytes == sum(item.bytes for item in did.removed) > 0
    assert {(cut.variant, cut.binding.key) for cut in did.trimmed} == set(aged.generations[0].items())
    for key in aged.left():
        aged.store.open(key)


def test_as_many_rollbacks_as_were_kept_still_work(aged: Aged) -> None:
    aged.collect(keep=1)
    roll_back(aged.store, aged.catalog, "m", "int8")
    assert aged.catalog.model("m").current("int8").key == aged.generations[1]["int8"]
    assert aged.collect(keep=0).removed == (), "what was rolled back from is remembered, and so are the parents"


def test_what_a_stack_makes_stays_whatever_the_history_says(aged: Aged) -> None:
    aged.file.write_text("first")
    assert sorted(item.key for item in aged.collect(keep=0, stacks=1).removed) == aged.keys(1)
    assert aged.left() == aged.keys(0, 2)


def test_a_stack_keeps_what_is_made_of_an_adapter_on_its_base(tmp_path: Path) -> None:
    world = World(tmp_path)
    plans = [
        world.plan("baseline"),
        world.plan("lora", "baseline", LORA),
        world.plan("merged", "lora", Merge()),
        world.plan("int8", "merged", W8A8),
    ]
    generations = []
    for text in ("first", "second"):
        world.file.write_text(text)
        generations.append(set(world.build(*plans).values()))
    world.file.write_text("first")
    collect(world.store, world.catalog, [plans], keep=0, method_for=world.method_for)
    assert set(world.store.stored()) == generations[0] | generations[1]
    assert len(generations[0]) == 4
    collect(world.store, world.catalog, keep=0, method_for=world.method_for)
    assert set(world.store.stored()) == generations[1]


class Raced(Store):
    """A store where another collection is always a little faster."""

    @contextmanager
    def unused(self, key: str) -> Iterator[bool]:
        with super().unused(key) as free:
            if self.path(key).exists():
                self.discard(key)
            yield free


def test_of_two_collections_at_once_one_finds_nothing_left(aged: Aged) -> None:
    aged.store = Raced(aged.store.home)
    done = aged.collect(keep=0)
    assert done.removed == ()
    assert aged.left() == aged.keys(2)


def test_a_stack_whose_keys_cannot_be_told_stops_the_collection(aged: Aged) -> None:
    aged.file.unlink()
    with pytest.raises(SourceError, match="no such file"):
        aged.collect(keep=0, stacks=1)
    assert aged.left() == aged.keys(0, 1, 2)
    assert len(aged.catalog.model("m").history("int8")) == 3


def test_what_is_held_stays_with_its_parent_until_it_is_let_go(aged: Aged) -> None:
    child = aged.generations[0]["int8"]
    with hold(aged.store.path(child)):
        for dry_run in (True, False):
            done = aged.collect(keep=0, dry_run=dry_run)
            assert [item.key for item in done.in_use] == [child]
            assert sorted(item.key for item in done.removed) == aged.keys(1)
        aged.store.open(child)
        assert aged.left() == sorted([*aged.generations[0].values(), *aged.keys(2)])
    assert sorted(item.key for item in aged.collect().removed) == aged.keys(0)
    assert aged.left() == aged.keys(2)


def test_a_parent_stays_as_long_as_its_variant(aged: Aged) -> None:
    aged.file.write_text("fourth")
    aged.build(aged.plan("baseline"))
    aged.collect(keep=0)
    assert set(aged.left()) == {*aged.keys(2), aged.catalog.model("m").current("baseline").key}


def test_what_nothing_can_read_goes_unless_it_is_named(aged: Aged) -> None:
    foreign = aged.store.path("ef" * 32)
    foreign.mkdir(parents=True)
    (foreign / "half").write_text("half")
    (aged.store.path(aged.generations[0]["int8"]) / "manifest.json").unlink()
    done = aged.collect()
    assert [(item.key, item.model) for item in done.removed] == [("ef" * 32, None)]
    assert aged.left() == aged.keys(0, 1, 2)


def test_what_dead_builders_left_goes_and_what_a_living_one_has_stays(aged: Aged) -> None:
    left = aged.store.root / ".staging" / ("cd" * 32)
    with aged.store.staging("ef" * 32) as living:
        left.mkdir()
        (left / "half").write_text("half")
        assert aged.collect(dry_run=True).staging == (left.name,)
        assert left.exists()
        done = aged.collect()
        assert (done.staging, done.freed_bytes > 0) == ((left.name,), True)
        assert living.exists()
    assert not left.exists()


def test_what_an_interrupted_build_finished_goes_unless_it_is_built_now(aged: Aged) -> None:
    with pytest.raises(KeyboardInterrupt):
        finish_one(aged.store, KeyboardInterrupt())
    with aged.store.staging(KEY):
        assert aged.collect().staging == ()
    done = aged.collect()
    assert (done.staging, done.freed_bytes > 0) == ((KEY,), True)
    assert aged.collect().staging == ()


def test_copies_of_data_go_unless_they_are_young(aged: Aged) -> None:
    task = Tasks({"own": TaskFile.model_validate(OWN | {"data": {"uri": str(rows_in(aged.store.home))}})})
    copies = aged.store.home / "sources" / "datasets" / "csv"

    def read() -> int:
        return len(task.get("own", aged.store.home).examples("test"))

    first = read()
    assert aged.collect().data_bytes == 0, "it was made a moment ago"
    for path in copies.rglob("*"):
        os.utime(path, (0, 0))
    assert read() == first
    assert aged.collect().data_bytes == 0, "the old copy was opened a moment ago"
    for path in copies.rglob("*"):
        os.utime(path, (0, 0))
    with shared(lock_of_copies(copies.parent)):
        assert aged.collect().data_bytes == 0, "one is being opened"
    would = aged.collect(dry_run=True)
    assert list(copies.iterdir())
    done = aged.collect()
    assert done.data_bytes == would.data_bytes == done.freed_bytes > 0
    assert list(copies.iterdir()) == []
    assert read() == first > 0, "the copy is made again"


def rows_in(folder: Path) -> Path:
    path = folder / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row {n},{n % 2}\n" for n in range(40)))
    return path
