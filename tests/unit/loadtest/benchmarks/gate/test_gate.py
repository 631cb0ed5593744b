"""A slice of `make bench-gate`: the same simulations, fewer runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.benchmarks.gate import __main__, parts
from loadtest.benchmarks.gate.parts import Size
from loadtest.benchmarks.gate.simulation import Tick
from variants.evidence.intervals import wilson
from variants.progress import NoProgress

SLICE = Size(
    runs=600, pairs=4000, deciding_runs=100, row_runs=50, live_runs=4, skew_runs=30, skew_requests=5000,
    fair_requests=5000,
)  # fmt: skip


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parts.gathered(parts.measure(tmp_path_factory.mktemp("evidence"), SLICE, NoProgress()))


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
    assert medians["roll back 5 points, delta 2 points"] <= 883
    returned = "requests of its clients until a variant that fails at 10 % is returned"
    assert medians[returned] <= 120
    assert medians[f"{returned}, after 10,000 sound ones in this step"] <= 200


def test_a_judge_is_asked_a_few_questions_where_labels_would_be_hundreds(figures: dict[str, Any]) -> None:
    assert 0 < figures["judge_questions_p50"] <= 20


def test_no_null_and_no_attack_is_decided_wrongly(figures: dict[str, Any]) -> None:
    for row in [*figures["nulls"], *figures["attacks"]]:
        wrong = round(row[f"{row['wrong']}_share"] * row["runs"])
        most = 0 if row["runs"] == SLICE.live_runs else row["limit"]  # the seeds are fixed
        assert wilson(wrong, row["runs"]).low <= most, row


def test_junk_labels_are_withheld_and_honest_ones_decide(figures: dict[str, Any]) -> None:
    shares = {row["name"]: row for row in figures["attacks"]}
    assert shares["junk labels, 100 %, variant 11.5 points worse"]["withheld_share"] == 1
    assert shares["honest labels, equal"]["promoted_share"] >= 0.9
    assert shares["honest labels, 5 points worse"]["rolled_back_share"] >= 0.9


def test_rollouts_end_where_the_truth_is_plain(figures: dict[str, Any]) -> None:
    """A variant that all of its clients lose by is returned, also where the sample ratio is broken."""
    shares = {row["name"]: row for row in figures["nulls"]}
    for name in (
        "1: all requests of its clients fail after a clean shadow",
        "2: late at all of the traffic, in time at a tenth",
        "2: a tenth fails after 6,000 sound requests",
        "5: all requests fail while the sample ratio is broken",
    ):
        assert shares[name]["rolled_back_share"] == 1, name
    assert shares["5: equal, begun anew after a broken sample ratio"]["promoted_share"] == 1
    assert shares["9: equal, tried again after an outage"]["promoted_share"] == 1


def test_a_router_that_skews_is_detected(figures: dict[str, Any]) -> None:
    assert figures["sample_ratio"]["detected_within"] <= SLICE.skew_requests
    assert figures["sample_ratio"]["false_alarm_share"] == 0


def test_goes_on_where_it_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def part(size: Size, tick: Tick) -> dict[str, int]:
        asked.append(size.runs)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {"runs": size.runs}

    monkeypatch.setattr(parts, "PARTS", {"one": part, "two": part})
    with pytest.raises(KeyboardInterrupt):
        parts.measure(tmp_path, SLICE, NoProgress())
    assert parts.measure(tmp_path, SLICE, NoProgress()) == {"one": {"runs": 600}, "two": {"runs": 600}}
    assert asked == [600, 600, 600]
    parts.measure(tmp_path, Size(runs=7), NoProgress())
    assert asked[3:] == [7, 7]


def test_processes_find_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: parts.PARTS[name] for name in ("at_margin", "judge_questions_p50")}
    monkeypatch.setattr(parts, "PARTS", few)
    size = Size(runs=30, pairs=500, deciding_runs=20)
    alone, beside = (parts.measure(tmp_path / str(at_once), size, NoProgress(), at_once) for at_once in (1, 2))
    assert alone == beside


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
