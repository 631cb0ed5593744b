"""What `make console-check` looks at, and what it finds wrong in its figures."""

from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks.console.__main__ import EMBEDDER, STACK, TEXT, faults, keeping, load_paths, paths_of
from serve.config.loader import load

PAGE: dict[str, Any] = {
    "path": "/", "theme": "dark", "width": 360, "server_ms": 900.0, "first_paint_ms": 2000.0, "layout_shift": 0.02,
    "overflow": 0, "axe_serious": [], "console_errors": [], "outside_requests": [],
}  # fmt: skip


def test_times_alone_are_no_fault() -> None:
    tasks = [{"name": "try it", "passed": True, "seconds": 200.0, "detail": ""}]
    assert faults({"pages": [PAGE], "tasks": tasks}) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("axe_serious", ["color-contrast"]),
        ("console_errors", ["Refused to load"]),
        ("outside_requests", ["https://fonts.example/a.woff"]),
        ("overflow", 12),
        ("layout_shift", 0.11),
    ],
)
def test_a_fault_names_its_page(field: str, value: object) -> None:
    (wrong,) = faults({"pages": [PAGE, PAGE | {field: value}], "tasks": []})
    assert wrong.startswith("/ (dark, 360): ")
    assert str(value) in wrong


def test_a_task_that_failed_is_a_fault() -> None:
    tasks = [{"name": "try it", "passed": False, "seconds": 1.0, "detail": "TimeoutError: "}]
    assert faults({"pages": [], "tasks": tasks}) == ["try it: TimeoutError: "]


def test_the_checks_server_keeps_answers_of_its_text_model(tmp_path: Path) -> None:
    models = load(keeping(STACK, tmp_path)).models
    assert [models[name].keep_answers is not None for name in (TEXT, EMBEDDER)] == [True, False]
    assert load(STACK).models[TEXT].keep_answers is None


def test_pages_of_pairs_rollouts_and_campaigns_are_looked_at() -> None:
    paths = paths_of(["r1"])
    assert [f"/models/{TEXT}/pairs" in paths, f"/models/{EMBEDDER}/rollouts/r1/report" in paths] == [True, True]
    assert load_paths("/pages/load/one") == [
        "/pages/load",
        "/pages/load/one/report",
        "/pages/load/compare?first=one&second=one",
    ]
    assert load_paths("") == ["/pages/load"]
