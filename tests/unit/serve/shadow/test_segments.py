"""Segments that are known without a declaration."""

from serve.shadow.sampling import Sample
from serve.shadow.segments import LEAST, RECENT, Lengths, with_built_in


def test_a_length_is_placed_among_those_known_before_it() -> None:
    lengths = Lengths()
    assert {lengths.quartile("m", length) for length in range(LEAST)} == {None}
    placed = [lengths.quartile("m", length) for length in (0, 24, 26, 51, 76, 1000)]
    assert placed == ["q1", "q1", "q2", "q3", "q4", "q4"]
    assert lengths.quartile("other", 5) is None


def test_equal_lengths_are_short() -> None:
    lengths = Lengths()
    for _ in range(LEAST):
        lengths.quartile("m", 7)
    assert lengths.quartile("m", 7) == "q1"
    assert lengths.quartile("m", 8) == "q4"


def test_old_lengths_are_forgotten() -> None:
    lengths = Lengths()
    for length in [1000] * RECENT + [1] * RECENT:
        lengths.quartile("m", length)
    assert lengths.quartile("m", 500) == "q4"


def test_a_pair_has_built_in_and_declared_segments() -> None:
    sample = Sample("b", "digest", 7, None, None, "/", task="sst2", segments={"language": "de"})
    assert with_built_in(sample, streamed=True, quartile="q2") == {
        "length": "q2", "streamed": "yes", "task": "sst2", "language": "de",
    }  # fmt: skip
    assert with_built_in(Sample("b", "digest", 7, None, None, "/"), False, None) == {"streamed": "no"}
