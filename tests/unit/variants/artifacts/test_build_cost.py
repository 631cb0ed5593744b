from pathlib import Path

import pytest

from variants.artifacts import build_cost
from variants.artifacts.build_cost import Stopwatch
from variants.machine import describe

MIB = 1 << 20


def test_each_watch_has_a_peak_of_its_own() -> None:
    first = Stopwatch()
    held = bytearray(128 * MIB)
    del held
    high = first.cost()
    low = Stopwatch().cost()
    assert high.peak_bytes is not None
    assert low.peak_bytes is not None
    assert high.peak_bytes - low.peak_bytes > 100 * MIB
    assert high.seconds > 0
    assert high.machine == describe()


def test_a_peak_that_the_kernel_does_not_forget_is_not_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build_cost, "_PROCESS", tmp_path / "none")
    assert Stopwatch().cost().peak_bytes is None
