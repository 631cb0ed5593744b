import io

import pytest

from variants.progress import BarProgress, LineProgress, Progress, for_stream


def test_lines_say_what_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, every=0)
    with progress.step("downloading x", unit="bytes") as step:
        step.to(1_000_000, 4_000_000)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "downloading x ..."
    assert lines[1].startswith("downloading x: 1.0 MB of 4.0 MB, about ")
    assert lines[1].endswith(" s left")
    assert lines[2].startswith("downloading x: done in ")


def test_a_log_is_not_flooded() -> None:
    stream = io.StringIO()
    with LineProgress(stream, every=60).step("training", total=1000) as step:
        for done in range(1000):
            step.to(done)
    assert len(stream.getvalue().splitlines()) == 2


def test_a_step_that_fails_does_not_say_done() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), LineProgress(stream).step("training"):
        raise RuntimeError
    assert "done" not in stream.getvalue()


def test_bars_nest_and_show_what_is_done() -> None:
    stream = io.StringIO()
    progress: Progress = BarProgress(stream)
    with progress.step("variants", total=2) as outer:
        with progress.step("training", total=10) as inner:
            inner.to(10)
        outer.to(1)
    assert "variants" in stream.getvalue()
    assert "training" in stream.getvalue()


def test_a_log_gets_lines() -> None:
    assert isinstance(for_stream(io.StringIO()), LineProgress)
