"""Sentences of a study: each adjective has its number, and saving bytes is never called being faster."""

import pytest

from serve.study import words
from serve.study.record import Between
from tests.study import baseline, card, made_study, perplexity


def test_the_sentence_of_a_variant_that_is_as_good_and_faster() -> None:
    assert words.says(card("int8"), baseline()) == (
        "int8 is −0.4 points (−1.1 to +0.3) from baseline on 1,000 examples of mnist: not shown to differ; "
        "gives the same answer to 98.8 %; has 0.27 times the bytes; "
        "is faster, 2.11 times as fast at one request and 2.41 times at saturation."
    )


def test_a_method_that_only_saves_bytes_is_not_sold_as_faster() -> None:
    small = card("nf4", latency_s={"p50": 0.0081, "p95": 0.01}, throughput_per_s=168.0)
    said = words.says(small, baseline())
    assert "is not shown to be faster, 0.99 times as fast at one request and 0.99 times at saturation" in said
    assert said.endswith("so it saves bytes and not time.")
    slow = words.says(card("nf4", latency_s={"p50": 0.02, "p95": 0.03}, throughput_per_s=60.0), baseline())
    assert "is slower, 0.40 times" in slow
    assert "so it saves bytes and not time" in slow


def test_faster_at_one_request_alone_is_not_called_faster() -> None:
    said = words.says(card("int8", throughput_per_s=175.0), baseline())
    assert said.endswith("is not shown to be faster, 2.11 times as fast at one request and 1.03 times at saturation.")


def test_zeros_in_the_same_shape_are_shown_as_such() -> None:
    zeros = card(
        "wanda", kind="pruned", structured=False, served_bytes=13_600_000, artifact_bytes=13_600_000,
        latency_s={"p50": 0.008, "p95": 0.0096}, throughput_per_s=171.0,
    )  # fmt: skip
    said = words.says(zeros, baseline())
    assert "has as many bytes" in said
    assert "is not shown to be faster, 1.00 times" in said
    assert "saves bytes" not in said
    assert "its zeros stand in a model of the same shape" in said
    dense = words.says(card("pruned", kind="pruned", structured=True), baseline())
    assert "zeros" not in dense


def test_an_adapter_adds_its_bytes_to_its_parents() -> None:
    adapter = card("lora", kind="lora", artifact_bytes=1_200_000, served_bytes=14_800_000)
    assert "adds 1.2 MB to baseline's 14 MB" in words.says(adapter, baseline())


def test_less_of_a_perplexity_is_better() -> None:
    base = baseline(**perplexity(27.6, None))
    worse = words.says(card("int4", **perplexity(35.9, (8.26, 7.1, 9.5))), base)
    assert "is +8.26 (+7.10 to +9.50) from baseline's perplexity of 27.6 on 64 examples of wikitext2: worse" in worse
    assert "points" not in worse
    assert "same answer" not in worse


@pytest.mark.parametrize(
    ("low", "high", "better", "verdict"),
    [
        (0.01, 0.02, "higher", "better"),
        (0.01, 0.02, "lower", "worse"),
        (-0.02, -0.01, "higher", "worse"),
        (-0.02, -0.01, "lower", "better"),
        (-0.01, 0.01, "higher", "not shown to differ"),
        (0.0, 0.01, "higher", "not shown to differ"),
    ],
)
def test_verdicts(low: float, high: float, better: str, verdict: str) -> None:
    assert words.verdict(Between(value=(low + high) / 2, low=low, high=high), better) == verdict


def test_limits_say_how_much_may_be_lost_and_how_many_intervals_may_be_wrong() -> None:
    wide = card(
        "pruned", kind="pruned", structured=True, paired_difference={"value": -0.01, "low": -0.034, "high": 0.01}
    )
    said = " ".join(words.limits(made_study(baseline(), card("int8"), wide, card("lora", kind="lora"))))
    assert "a loss of up to 3.4 points of digits@pruned" in said
    assert "there are 3 paired differences" in said
    assert "trained on the task" in said
    assert "trained on the task" not in " ".join(words.limits(made_study(baseline(), card("int8"))))


def test_a_baseline_says_what_it_is() -> None:
    assert words.says(baseline(), None) == "baseline: accuracy 97.4 % on 1,000 examples, 14 MB."
