"""The arithmetic of `make bench-shadow`, and that a run goes on where an earlier one stopped."""

import json
import math
import statistics
from pathlib import Path

import pytest

from loadtest.benchmarks import shadow_overhead
from loadtest.benchmarks.shadow_overhead import Pair, Plan, describe_result, mean_ratio, measure

PLAN = Plan(pairs=3)


def test_the_mean_of_ratios_is_geometric_with_students_interval() -> None:
    ratios = [0.5, 2.0, 1.0, 1.0]
    interval = mean_ratio(ratios)
    assert interval.value == pytest.approx(1.0)
    half = 3.182446 * statistics.stdev(map(math.log, ratios)) / 2
    assert interval.high == pytest.approx(math.exp(half), rel=1e-5)
    assert interval.low == pytest.approx(1 / interval.high)


def test_one_ratio_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two"):  # said by the standard library
        mean_ratio([1.0])


def test_a_later_run_goes_on_with_the_pairs_of_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def pair(plan: Plan, url: str, out: Path, number: int, rate: float) -> Pair:
        measured.append(number)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return Pair(rate, 0.1 * (2 + number), 0.1, 10, 0)

    monkeypatch.setattr(shadow_overhead, "saturation", lambda plan, url, out: 7.0)
    monkeypatch.setattr(shadow_overhead, "shadow_pairs", lambda url, plan: {"compared": 4})
    monkeypatch.setattr(shadow_overhead, "measure_pair", pair)
    with pytest.raises(KeyboardInterrupt):
        measure(PLAN, "http://nowhere", tmp_path)
    result = measure(PLAN, "http://nowhere", tmp_path)
    assert measured == [0, 1, 1, 2]
    assert result["p95_ratio"]["value"] == pytest.approx((2 * 3 * 4) ** (1 / 3))
    assert describe_result(result).endswith("4 compared")
    kept = json.loads((tmp_path / "pairs.json").read_text())
    kept["context"]["versions"]["torch"] = "another"
    (tmp_path / "pairs.json").write_text(json.dumps(kept))
    measure(PLAN, "http://nowhere", tmp_path)
    assert measured[4:] == [0, 1, 2], "pairs that were measured with other versions do not count"
