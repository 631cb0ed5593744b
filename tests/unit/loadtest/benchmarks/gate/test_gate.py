"""A slice of `make bench-gate`: the same simulations, fewer runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.benchmarks.gate import __main__
from loadtest.benchmarks.gate.simulation import Tick
from variants.evidence.intervals import wilson
from variants.progress import NoProgress

SLICE = __main__.Size(
    runs=600, pairs=4000, deciding_runs=100, row_runs=50, skew_runs=30, skew_requests=5000, fair_requests=5000
)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return __main__.measure(tmp_path_factory.mktemp("evidence"), SLICE, NoProgress())


def test_peeking_is_safe_with_bounds_and_not_with_a_z_test(figures: dict[str, Any]) -> None:
    assert figures["different"]["low"] <= 0.05
    assert figures["different"]["z_test_low"] > 0.15
    assert figures["at_margin"]["promoted_low"] <= 0.05
    assert figures["at_margin"]["rolled_back_low"] <= 0.05


def test_it_decides(figures: dict[str, Any]) -> None:
    medians = {row["case"]: row["p50"] for row in figures["pairs"]}
    assert medians["promote an equal variant, 10 % discordant"] <= 1700
    assert medians["promote an equal variant, 2 % discordant"] <= 430
    assert medians["promote an equal variant, identical answers"] <= 215
    assert medians["roll back 5 points, delta 2 points"] <= 950
    assert medians["requests of its clients until a variant that fails at 10 % is returned"] <= 120


def test_a_judge_is_asked_a_few_questions_where_labels_would_be_hundreds(figures: dict[str, Any]) -> None:
    assert 0 < figures["judge_questions_p50"] <= 20


def test_no_null_and_no_attack_is_decided_wrongly(figures: dict[str, Any]) -> None:
    for row in [*figures["nulls"], *figures["attacks"]]:
        wrong = round(row[f"{row['wrong']}_share"] * row["runs"])
        assert wilson(wrong, row["runs"]).low <= row["limit"], row


def test_junk_labels_are_withheld_and_honest_ones_decide(figures: dict[str, Any]) -> None:
    shares = {row["name"]: row for row in figures["attacks"]}
    assert shares["junk labels, 100 %, variant 11.5 points worse"]["withheld_share"] == 1
    assert shares["honest labels, equal"]["promoted_share"] >= 0.9
    assert shares["honest labels, 5 points worse"]["rolled_back_share"] >= 0.9


def test_a_router_that_skews_is_detected(figures: dict[str, Any]) -> None:
    assert figures["sample_ratio"]["detected_within"] <= SLICE.skew_requests
    assert figures["sample_ratio"]["false_alarm_share"] == 0


def test_goes_on_where_it_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def part(size: __main__.Size, tick: Tick) -> dict[str, int]:
        asked.append(size.runs)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {"runs": size.runs}

    monkeypatch.setattr(__main__, "PARTS", {"one": part, "two": part})
    with pytest.raises(KeyboardInterrupt):
        __main__.measure(tmp_path, SLICE, NoProgress())
    assert __main__.measure(tmp_path, SLICE, NoProgress()) == {"one": {"runs": 600}, "two": {"runs": 600}}
    assert asked == [600, 600, 600]
    __main__.measure(tmp_path, __main__.Size(runs=7), NoProgress())
    assert asked[3:] == [7, 7]


def test_the_document_has_a_place_for_its_figures(tmp_path: Path, figures: dict[str, Any]) -> None:
    document = tmp_path / "evidence.md"
    document.write_text(__main__.DOCUMENT.read_text())
    put_into(document, "bench-gate", __main__.tables(figures))
    put_into(document, "bench-gate", __main__.tables(figures))
    assert document.read_text().count("pairs until the decision") == 1
    write_figures(tmp_path / "evidence.json", figures)
    written = json.loads((tmp_path / "evidence.json").read_text())
    assert written["schema"] == 1
    assert {"different", "at_margin", "pairs", "nulls", "attacks", "sample_ratio", "machine"} <= written.keys()
    document.write_text("nothing")
    with pytest.raises(ValueError, match="lacks"):
        put_into(document, "bench-gate", "")
