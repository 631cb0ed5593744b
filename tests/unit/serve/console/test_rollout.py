"""The parts of a rollout's page: the steps, a tile a metric, the sentences, and pictures that are not drawn twice."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from starlette.exceptions import HTTPException

from serve.console.rollout import RolloutPages, card_of, coverage_of, ratio_of, steps_of, values_of
from serve.console.site import Site
from tests.unit.variants.reports.test_rollout_report import made_document


@pytest.mark.parametrize(
    ("status", "step", "states"),
    [
        ("running", "shadow", ["current", "to come"]),
        ("paused", 10.0, ["done", "current"]),
        ("promoted", 10.0, ["done", "done"]),
        ("rolled back", "shadow", ["ended here", "not reached"]),
    ],
)
def test_the_steps(status: str, step: str | float, states: list[str]) -> None:
    document = {**made_document(), "status": status, "step": step}
    assert steps_of(document) == list(zip(["shadow", "10 %"], states, strict=True))


def test_a_tile_has_figure_interval_and_limit() -> None:
    tile = values_of(made_document())["tiles"][0]
    assert (tile["metric"], tile["value"], tile["n"]) == ("quality", "−12.0 points", 700)
    assert tile["interval"] == "−22.0 points to −2.0 points"
    assert tile["limit"] == "at least −2.0 points"
    assert tile["picture"]


@pytest.mark.parametrize(
    ("status", "actions"),
    [("running", ("pause", "abort")), ("paused", ("resume", "abort")), ("promoted", ())],
)
def test_only_what_is_possible_is_offered(status: str, actions: tuple[str, ...]) -> None:
    assert values_of({**made_document(), "status": status})["actions"] == actions


def test_a_rollout_without_verdict_shows_its_last_evidence() -> None:
    values = values_of({**made_document(), "verdict": None, "account": None})
    assert [(tile["metric"], tile["value"], tile["n"]) for tile in values["tiles"]] == [
        ("quality", "−1.0 points", 2900)
    ]
    assert values["said"] == []
    assert values_of({**made_document(), "verdict": None, "evidence": []})["tiles"] == []


def test_a_rollout_that_waits_for_its_hold_says_so() -> None:
    document = made_document()
    passed = {**document, "status": "running", "verdict": {**document["verdict"], "decision": "promote", "missing": []}}
    assert values_of(passed)["missing"] == [
        "nothing but time: each step lasts at least 0:02 minutes, and this one began 2026-12-01 09:30:00 UTC"
    ]
    assert values_of(document)["missing"] == ["a reason"]


def test_the_sentences() -> None:
    assert ratio_of({"assignments": {"seen": {"a": 90}, "due": {"a": 50.0, "b": 50.0}, "broken": True}}) == [
        "Sample ratio is broken: a 90 (due 50), b 0 (due 50)."
    ]
    departs = {"text": "most of all the key team"}
    assignments = {"seen": {"a": 90}, "due": {"a": 50.0}, "broken": True, "departs": departs}
    assert ratio_of({"assignments": assignments})[1] == "The largest departure: the key team."
    account = {"coverage": {"seen": 200, "share": 0.75}, "pairs": {"chosen": 10, "compared": 8}}
    assert coverage_of(account) == [
        "Coverage: 75.0 % of 200 requests can be compared.",
        "8 of 10 sampled pairs were compared.",
    ]
    told = {"value": -0.01, "low": -0.02, "high": 0.0, "n": 500}
    assert card_of({"card": {"difference": told, "live": None, "contradicts": False}}) == [
        "Right answers minus the parent's, in points. card: −1.0 (−2.0 to 0.0, n 500)."
    ]


def test_a_picture_is_drawn_once_for_the_same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    real: Callable[..., Any] = __import__("serve.console.rollout", fromlist=["picture"]).picture

    def counted(document: dict[str, Any], metric: str) -> Any:
        drawn.append(metric)
        return real(document, metric)

    monkeypatch.setattr("serve.console.rollout.picture", counted)
    pages, document = RolloutPages(cast(Site, None)), made_document()
    first = pages.draw(document, "quality")
    assert first.startswith("<svg")
    assert pages.draw(document, "quality") is first
    pages.draw({**document, "evidence": document["evidence"][:9]}, "quality")
    assert drawn == ["quality", "quality"]
    with pytest.raises(HTTPException):
        pages.draw(document, "none")
