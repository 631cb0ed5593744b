"""The cost of builds: its figures are kept, and shown as a table. Nothing is built here."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks import build_cost
from loadtest.benchmarks.build_cost import RECIPES, SHAPES, anywhere, run, table, texts
from tests.support.recipes import parse_recipe

FIGURE: dict[str, Any] = {
    "parameters": 1_100_000_000, "scheme": "nf4", "algorithm": "rtn", "bf16_bytes": 2_200_000_000,
    "peak_bytes": 3_300_000_000, "seconds": 61.7,
}  # fmt: skip


def test_the_table_has_a_line_for_each_build() -> None:
    lines = table([FIGURE, FIGURE | {"scheme": "w8a8", "peak_bytes": None}]).splitlines()
    assert lines[2:] == ["| 1.10 | nf4 | rtn | 1.50 | 62 |", "| 1.10 | w8a8 | rtn | not known | 62 |"]


@pytest.mark.parametrize(("size", "billions"), [("0.1", 0.1), ("0.4", 0.4), ("1.1", 1.1), ("3", 3.0)])
def test_each_llama_has_the_parameters_of_its_name(size: str, billions: float) -> None:
    shape = SHAPES[size]
    layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.inner
    parameters = 2 * shape.vocabulary * shape.hidden + shape.layers * layer
    assert parameters / 1e9 == pytest.approx(billions, rel=0.1)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=["-".join(names) for names in RECIPES])
def test_each_recipe_has_a_method_on_every_machine(recipe: dict[str, Any]) -> None:
    assert anywhere("text-generation", parse_recipe(recipe), "recipe").capability is None


def test_its_texts_can_be_calibrated_on(tmp_path: Path) -> None:
    assert len(texts(tmp_path).get("counting").examples("calibration")) >= 16


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, ...]] = []

    def child(*arguments: str) -> None:
        measured.append(arguments)
        if arguments[0] == "--write":
            (Path(arguments[1]) / "model").mkdir()
            return
        to = Path(arguments[-1])
        to.parent.mkdir(exist_ok=True)
        to.write_text(json.dumps(FIGURE | {"scheme": arguments[2]}))

    monkeypatch.setattr(build_cost, "in_a_child", child)
    first = run(["0.1"], [("nf4", "rtn")], tmp_path)
    assert [each[0] for each in measured] == ["--write", "--measure", "--measure"]
    measured.clear()
    assert run(["0.1"], [("nf4", "rtn"), ("w8a8", "rtn")], tmp_path) == [FIGURE | {"scheme": "w8a8"}, *first]
    assert [each[2] for each in measured if each[0] == "--measure"] == ["bf16", "w8a8"]
    assert [each["scheme"] for each in json.loads((tmp_path / "build-cost.json").read_text())] == ["w8a8", "nf4"]


def test_a_build_that_fails_is_noted_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = {"nf4"}

    def child(*arguments: str) -> None:
        if arguments[0] == "--write":
            (Path(arguments[1]) / "model").mkdir()
            return
        if arguments[2] in fails:
            raise subprocess.CalledProcessError(-9, arguments)
        to = Path(arguments[-1])
        to.parent.mkdir(exist_ok=True)
        to.write_text(json.dumps(FIGURE | {"scheme": arguments[2]}))

    monkeypatch.setattr(build_cost, "in_a_child", child)
    failed, made = run(["0.1"], [("nf4", "rtn"), ("w4a16", "rtn")], tmp_path)
    assert (failed["failed"], made["scheme"]) == ("exit code -9", "w4a16")
    assert table([failed]).endswith("| 0.10 | nf4 | rtn | not known | failed |")
    fails.clear()
    assert [each.get("failed") for each in run(["0.1"], [("nf4", "rtn")], tmp_path)] == [None, None]
