"""Answers that models write by themselves: what lowers their score."""

import pytest

from variants.evidence.free_running import FreeAnswer, compare, overlap, repeated, score

SENTENCE = "The capital of France is Paris, which lies on the river Seine and has two million people."
REFERENCE = FreeAnswer(SENTENCE, "stop")
LOOPING = FreeAnswer("The capital of France is Paris, " * 12, "length")


def test_an_equal_answer_scores_one() -> None:
    assert score(REFERENCE, REFERENCE) == 1
    checks = compare(REFERENCE, REFERENCE)
    assert (checks.equal, checks.same_until, checks.length_ratio, checks.stop_differs, checks.repetition) == (
        1, 1.0, 1.0, 0, 0.0,
    )  # fmt: skip


def test_an_answer_that_says_the_same_scores_above_one_that_drifts_away() -> None:
    rephrased = FreeAnswer("Paris is the capital of France; it lies on the Seine and has two million people.", "stop")
    drifted = FreeAnswer("The capital is a word that I like, as my aunt has grown roses since last spring.", "stop")
    assert score(rephrased, REFERENCE) == 1
    assert score(drifted, REFERENCE) < 0.7
    assert score(FreeAnswer("My aunt grows roses.", "stop"), REFERENCE) < 0.2


def test_an_answer_that_never_stops_scores_half_at_most() -> None:
    unending = FreeAnswer(f"{SENTENCE} And now to something else:", "length")
    assert score(FreeAnswer(unending.text, "stop"), REFERENCE) == 1
    assert score(unending, REFERENCE) == 0.5
    assert score(FreeAnswer(SENTENCE + " word" * 100, "length"), REFERENCE) < 0.3
    assert compare(unending, REFERENCE).stop_differs == 1


def test_an_answer_that_loops_scores_next_to_nothing() -> None:
    assert score(LOOPING, REFERENCE) < 0.05
    checks = compare(LOOPING, REFERENCE)
    assert checks.repetition > 0.9
    assert checks.length_ratio > 4
    assert 0.3 < checks.same_until < 0.4


def test_a_parent_that_loops_as_well_is_no_loss() -> None:
    assert score(LOOPING, LOOPING) == 1


@pytest.mark.parametrize(
    ("answer", "reference", "wanted"),
    [
        ('{"a": 1, "b": [true, "x"]}', '{"b":[true,"x"],"a":1.0}', 1),
        ('{"a": true}', '{"a": 1}', 0),
        ('{"a": 90071992547409931}', '{"a": 90071992547409932}', 0),
        ('[1, 2]', '[2, 1]', 0),
        ("no JSON", '{"a": 1}', 0),
        ("[" * 100_000, '{"a": 1}', 0),
    ],
)  # fmt: skip
def test_json_is_compared_by_its_values(answer: str, reference: str, wanted: float) -> None:
    assert score(FreeAnswer(answer, "stop"), FreeAnswer(reference, "stop")) == wanted


@pytest.mark.parametrize(
    ("calls", "wanted"),
    [
        ((("weather", '{"unit": "C", "city": "Bonn"}'),), 1),
        ((("weather", '{"city": "Berlin", "unit": "C"}'),), 0),
        ((("wetter", '{"city": "Bonn", "unit": "C"}'),), 0),
        ((("weather", '{"city": "Bonn", "unit": "C"}'),) * 2, 0),
        ((), 0),
    ],
)
def test_tool_calls_are_compared_by_name_and_arguments(calls: tuple[tuple[str, str], ...], wanted: float) -> None:
    reference = FreeAnswer("", "tool_calls", (("weather", '{"city": "Bonn", "unit": "C"}'),))
    answer = FreeAnswer("", "tool_calls", calls)
    assert score(answer, reference) == wanted
    assert compare(answer, reference).equal == wanted
    assert score(reference, FreeAnswer("I do not know.", "stop")) == 0


def test_scripts_without_blanks_have_words_too() -> None:
    assert overlap("今日は雨です", "今日は晴です") == pytest.approx(5 / 6)
    assert repeated("今日は雨" * 5) > 0.7


def test_nothing_is_equal_to_nothing() -> None:
    assert score(FreeAnswer("", "stop"), FreeAnswer(" ", "stop")) == 1
    assert score(FreeAnswer("", "stop"), REFERENCE) == 0
