"""A slice of `make bench-record`: what it measures is done."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from loadtest.benchmarks.recording import A_BATCH, measure


def test_requests_are_counted_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))

    def counted() -> float:
        labels = {"model": "m", "variant": "int8", "reason": "weight", "status": "200"}
        return REGISTRY.get_sample_value("understudy_requests_total", labels) or 0.0

    before = counted()
    costs = measure(2 * A_BATCH, rounds=1)
    assert counted() - before == 2 * A_BATCH
    assert len((tmp_path / "requests" / "m" / "unlabelled.jsonl").read_text().splitlines()) == 2 * A_BATCH
    assert all(cost.least > 0 for cost in costs.values())
