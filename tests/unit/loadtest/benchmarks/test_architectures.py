"""The table of architectures: what is measured, and how a cell is shown. Nothing is built here."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks.architectures.__main__ import kept, table
from loadtest.benchmarks.architectures.measure import Cell
from loadtest.benchmarks.architectures.methods import METHODS, plans
from loadtest.benchmarks.architectures.tiny import ARCHITECTURES
from variants.methods import registry
from variants.methods.registry import find
from variants.recipes.source import Source

SOURCE = Source(uri="./somewhere", licence="none")
ELSEWHERE = {
    "w8a8-fp8", "train-detector", "train", "lora efficientnet-lite0", "baseline-detector", "published", "adapter",
}  # fmt: skip
"""Of the registry: for a GPU, from random weights, for one published model, for an ONNX file, and as published."""


def cell(**fields: Any) -> Cell:
    return Cell.model_validate({"architecture": "Bloom", "method": "w8a8", "builds": True} | fields)


@pytest.mark.parametrize(
    ("fields", "text", "fails"),
    [
        ({"serves": True, "difference": 0.02, "tolerance": 0.1}, "yes (0.02)", False),
        ({"serves": True, "difference": 0.13, "tolerance": 0.1}, "differs: 0.13", True),
        ({"serves": True}, "served", False),
        ({"builds": False, "refused": True, "says": "no"}, "refused", False),
        ({"builds": False, "says": "KeyError: 'a'"}, "fails", True),
        ({"says": "the engine ended"}, "built, not served", True),
    ],
)
def test_a_cell_is_shown_by_what_was_measured(fields: dict[str, Any], text: str, fails: bool) -> None:
    assert (cell(**fields).text, cell(**fields).fails) == (text, fails)


def test_every_method_for_a_hub_model_is_measured() -> None:
    for task, methods in METHODS.items():
        measured = {find(task, recipe).name for recipe in methods.values()}
        known = {
            method.name
            for name, method in registry._METHODS[task].items()
            if name.removeprefix("quantize ") not in ELSEWHERE
        }
        assert known - measured == set(), task


def test_methods_are_built_after_what_they_start_from() -> None:
    def chain(task: Any, method: str) -> list[tuple[str, str | None]]:
        return [(plan.variant, plan.parent) for plan in plans("m", task, method, SOURCE)]

    assert chain("text-generation", "awq w4a16") == [("baseline", None), ("awq-w4a16", "baseline")]
    assert chain("text-generation", "merge") == [("baseline", None), ("lora", "baseline"), ("merge", "lora")]
    assert chain("text-classification", "heads") == [("train", None), ("heads", "train")]
    assert chain("text-classification", "lora") == [("lora", None)]


def test_there_are_the_architectures_that_were_promised() -> None:
    names = {each.name for each in ARCHITECTURES}
    assert len(names) == len(ARCHITECTURES) >= 24
    assert {each.task for each in ARCHITECTURES} == set(METHODS)


def test_a_table_has_every_method_and_the_words_of_what_is_refused(tmp_path: Path) -> None:
    cells = [cell(builds=False, refused=True, says="no layer (another model)"), cell(method="fp16", serves=True)]
    path = tmp_path / "architectures.json"
    path.write_text(json.dumps({"cells": [each.model_dump(mode="json") for each in cells]}))
    assert kept(path) == cells
    assert kept(tmp_path / "none.json") == []
    lines = table(kept(path)).splitlines()
    assert f"| | {' | '.join(METHODS['text-generation'])} |" in lines
    (row,) = (line for line in lines if line.startswith("| Bloom"))
    assert row.split(" | ")[1:4] == ["not measured", "served", "refused"]
    assert "- Bloom, w8a8: no layer (another model)" in lines
    assert "## object-detection" not in lines
