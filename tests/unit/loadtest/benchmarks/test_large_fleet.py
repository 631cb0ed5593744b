"""The fleet page of 500 variants, half of which are not ready, stays small."""

from pathlib import Path

import pytest

from loadtest.benchmarks.console.large_fleet import measure


async def test_the_page_of_500_variants_stays_below_300_kb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    figures = await measure()
    assert figures["variants"] == 500
    assert figures["bytes"] < 300_000
