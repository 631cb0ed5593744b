"""Sentences of a study: each adjective has its number, and saving bytes is never called being faster."""

from typing import Any

import pytest

from serve.study import sentences
from serve.study.schema import Between
from tests.support.study import BF16, ZEROS, baseline, card, made_study, perplexity, speedup


def test_the_sentence_of_a_variant_that_is_as_good_and_faster() -> None:
    assert sentences.says(card("int8"), baseline()) == (
        "int8 is −0.4 points (−1.1 to +0.3) from baseline on 1,000 examples of mnist: not shown to differ; "
        "gives the same answer to 98.8 %; has 0.27 times the bytes; "
        "is faster, 2.11 (2.06 to 2.16) times as fast at one request and 2.41 (2.36 to 2.46) times at saturation."
    )


def test_a_method_that_only_saves_bytes_is_not_sold_as_faster() -> None:
    said = sentences.says(card("nf4", speedup=speedup(0.99, 1.01)), baseline())
    assert "is not shown to be faster, 0.99 (0.94 to 1.04) times as fast at one request and 1.01 (0.96 to 1.06)" in said
    assert said.endswith("so it saves bytes and not time.")
    slow = sentences.says(card("nf4", speedup=speedup(0.4, 0.38)), baseline())
    assert "is slower, 0.40 (0.35 to 0.45) times" in slow
    assert "so it saves bytes and not time" in slow


def test_faster_at_one_request_alone_is_not_called_faster() -> None:
    said = sentences.says(card("int8", speedup=speedup(2.11, 1.03)), baseline())
    assert said.endswith(
        "is not shown to be faster, "
        "2.11 (2.06 to 2.16) times as fast at one request and 1.03 (0.98 to 1.08) times at saturation."
    )


def test_faster_at_saturation_alone_saves_time_there() -> None:
    said = sentences.says(card("bf16", speedup=speedup(0.99, 1.49)), baseline())
    assert "is not shown to be faster, 0.99" in said
    assert "saves bytes" not in said


def test_a_loss_on_a_further_task_is_not_passed_over() -> None:
    r8 = {
        "task": "r8", "unit": "share", "better": "higher", "agreement": None,
        "accuracy": {"metric": "accuracy", "value": 0.56, "low": 0.49, "high": 0.63, "n": 200},
        "paired_difference": {"value": -0.105, "low": -0.163, "high": -0.046},
    }  # fmt: skip
    said = sentences.says(card("nf4", others=[r8]), baseline())
    assert "of mnist: not shown to differ;" in said
    assert "on r8 −10.5 (−16.3 to −4.6) points: worse;" in said
    said = sentences.says(card("nf4", others=[r8 | perplexity(35.9, (8.26, 7.1, 9.5))]), baseline())
    assert "on wikitext2 (perplexity) +8.26 (+7.10 to +9.50): worse;" in said


def test_distances_of_drawings_stand_beside_the_parents() -> None:
    def distances(value: float, n: int = 500) -> dict[str, Any]:
        return {"distances": [{"task": "digit_prompts", "value": value, "n": n, "real": 1000}]}

    said = sentences.says(card("int8", **distances(11.53)), baseline(**distances(11.9)))
    assert "Fréchet distance of 11.5 from 1,000 real pictures, baseline at 11.9 (500 drawn by each);" in said
    assert "Fréchet" not in sentences.says(card("int8", **distances(11.53, n=100)), baseline(**distances(11.9)))


def test_what_was_not_compared_side_by_side_has_no_word_for_its_speed() -> None:
    assert "fast" not in sentences.says(card("int8", speedup=None), baseline())


def test_zeros_in_the_same_shape_are_shown_as_such() -> None:
    zeros = card(
        "wanda", kind="pruned", structured=False, served_bytes=13_600_000, artifact_bytes=13_600_000,
        speedup=speedup(1.0, 1.01),
    )  # fmt: skip
    said = sentences.says(zeros, baseline())
    assert "has as many bytes" in said
    assert "is not shown to be faster, 1.00 (0.95 to 1.05) times" in said
    assert "saves bytes" not in said
    assert "its zeros are in a model of the same shape" in said
    dense = sentences.says(card("pruned", kind="pruned", structured=True), baseline())
    assert "zeros" not in dense


def test_an_adapter_adds_its_bytes_to_its_parents() -> None:
    adapter = card("lora", kind="lora", artifact_bytes=1_200_000, served_bytes=14_800_000)
    assert "adds 1.2 MB to baseline's 14 MB" in sentences.says(adapter, baseline())


def test_less_of_a_perplexity_is_better() -> None:
    base = baseline(**perplexity(27.6, None))
    worse = sentences.says(card("int4", **perplexity(35.9, (8.26, 7.1, 9.5))), base)
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
    assert sentences.verdict(Between(value=(low + high) / 2, low=low, high=high), better) == verdict


def test_limits_say_how_much_may_be_lost_and_how_many_intervals_may_be_wrong() -> None:
    wide = card(
        "pruned", kind="pruned", structured=True, paired_difference={"value": -0.01, "low": -0.034, "high": 0.01}
    )
    further = {
        "task": "mnist_top5", "unit": "share", "better": "higher", "agreement": None,
        "accuracy": {"metric": "accuracy", "value": 0.99, "low": 0.98, "high": 1.0, "n": 1000},
    }  # fmt: skip
    paired, alone = (
        further | {"paired_difference": difference} for difference in (wide.model_dump()["paired_difference"], None)
    )
    said = " ".join(sentences.limits(made_study(baseline(others=[alone]), card("int8", others=[paired]), wide).cards))
    assert "a loss of up to 3.4 points of digits@pruned" in said
    assert "there are 3 paired differences: expect 0.1 that do" in said


def test_who_learned_from_a_task_that_it_is_measured_on_is_counted_by_how() -> None:
    lora = {"kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 9}
    distilled = {"kind": "prune", "structure": "layers", "drop_layers": 1, "calibration": {"task": "r8", "examples": 8}}
    distilled |= {"distillation": {"tasks": ["mnist", "r8"], "steps": 9}}
    learned = [
        card("int8"), card("int4"), card("lora", recipe=lora), card("pruned", recipe=ZEROS),
        card("layers", recipe=distilled),
    ]  # fmt: skip
    elsewhere = [card("nf4", recipe=BF16), card("lora", recipe=lora | {"task": "r8"}), baseline(recipe=BF16)]
    said = " ".join(sentences.limits(made_study(*learned, *elsewhere).cards))
    assert "measured on (2 calibrated, 1 as adapter, 2 healed after a cut): what they gain" in said
    assert "learned from" not in " ".join(sentences.limits(made_study(*elsewhere).cards))


def test_what_a_parent_learned_its_variant_has_learned_too() -> None:
    lora = {"kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 9}
    line = [
        baseline(recipe=BF16), card("lora", recipe=lora), card("merged", recipe={"kind": "merge"}, parent="lora"),
        card("merged-int8", parent="merged"),
    ]  # fmt: skip
    said = " ".join(sentences.limits(made_study(*line).cards))
    assert "measured on (3 as adapter): what they gain" in said


def test_the_speed_of_text_generation_is_said_to_be_of_one_token() -> None:
    text = made_study(baseline(), baseline(family="text-generation", model="smollm2", **perplexity(27.6, None)))
    assert "requests, which end after one token" in " ".join(sentences.limits(text.cards))
    assert "one token" not in " ".join(sentences.limits(made_study(baseline(), card("int8")).cards))


@pytest.mark.parametrize(
    ("precision", "executes", "said"),
    [
        ("f16", "f32", "f16, in f32"),
        ("bf16", "bf16", "bf16"),
        ("bf16", None, "bf16"),
        ("int8", "bf16", "int8, rest in bf16"),
        ("int8-dynamic", "f32", "int8-dynamic"),
    ],
)
def test_what_is_executed_in_another_precision_says_so(precision: str, executes: str | None, said: str) -> None:
    assert card("narrow", precision=precision, executes=executes).executed == said


def test_a_baseline_says_what_it_is() -> None:
    assert sentences.says(baseline(), None) == "baseline: accuracy 97.4 % on 1,000 examples, 14 MB."
