"""Sentences carry their figures, and never call equal what could not be told apart."""

from pathlib import Path

from loadtest.results.summary import summarise
from tests.unit.loadtest.results.made import TEXT, make, record
from tests.unit.loadtest.results.test_summary import add, model


def test_one_sentence_a_comparison(tmp_path: Path) -> None:
    make(tmp_path)
    says = model(summarise(tmp_path), "smollm2").says
    assert len(says) == 2
    int8, nf4 = says
    assert int8.startswith("smollm2: int8 against baseline: faster, 1.3")
    assert "times its output tokens/s" in int8
    assert "over 3 slices" in int8
    assert "61 % of its bytes" in int8
    assert "worse on r8, −10.5 points (95 % −" in int8
    assert "cannot tell on rotten_tomatoes, −1.5 points" in int8
    assert "slower, 0.6" in nf4
    assert not any("equal" in sentence or "same" in sentence for sentence in says)


def test_failures_have_a_sentence_of_their_own(tmp_path: Path) -> None:
    make(tmp_path)
    add(tmp_path, record("smollm2", TEXT[1], part="warm-up", status=503, error="HTTP 503: busy"))
    says = model(summarise(tmp_path), "smollm2").says
    assert says[-1] == ("smollm2: requests failed (1 of 449 of int8); figures are of those that did not.")


def test_limits_say_how_large_a_loss_may_hide(tmp_path: Path) -> None:
    make(tmp_path)
    limits = " ".join(summarise(tmp_path).limits)
    assert "Cannot tell is not equal: with 200 examples" in limits
    assert "alone on this machine" in limits
    assert "0.06 cores of the same machine busy" in limits
    assert "as few as 4" in limits, "a p99 of some forty requests"
