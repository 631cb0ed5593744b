"""Accuracies under load beside cards, on a made-up campaign whose figures are known."""

from pathlib import Path

import pytest

from loadtest.benchmarks.accuracy_under_load.__main__ import FAMILIES, asked_of, served
from loadtest.benchmarks.accuracy_under_load.check import Cards, check_counts, hold
from loadtest.campaign.schema import AccuracyTest
from loadtest.results.schema import Summary
from loadtest.results.summary import summarise
from serve.config.loader import load
from tests.unit.loadtest.results.made import PICTURES, make
from variants.artifacts.card import Accuracy
from variants.errors import EngineError, StackError

MNIST = (AccuracyTest(model="digits", task="mnist", n=1000),)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("campaign")
    make(folder)
    return summarise(folder)


def cards(low: float, high: float, n: int = 1000) -> Cards:
    figure = Accuracy(task="mnist", value=(low + high) / 2, low=low, high=high, n=n)
    other = Accuracy(task="mnist", metric="macro-F1", value=0.5, low=0.4, high=0.6, n=n)
    return {f"{made.size:064x}": [figure, other] for made in PICTURES}


def test_each_variant_is_held_against_the_card_of_what_it_was_served_from(summary: Summary) -> None:
    checks = {check.variant: check for check in hold(summary, cards(0.986, 0.99), MNIST)}
    assert list(checks) == ["digits@baseline", "digits@bf16", "digits@int8"]
    assert [each.live.value for each in checks.values()] == [0.988, 0.988, 0.985]
    assert [each.within for each in checks.values()] == [True, True, False]
    assert "OUTSIDE its card's 0.988 [0.986, 0.990]" in str(checks["digits@int8"])
    assert checks["digits@bf16"].row() == {
        "variant": "digits@bf16", "task": "mnist", "metric": "accuracy", "value": 0.988, "n": 1000, "within": True,
        "card": {"value": 0.988, "low": 0.986, "high": 0.99, "n": 1000},
    }  # fmt: skip


def test_answers_that_are_missing_are_not_within(summary: Summary) -> None:
    checks = hold(summary, cards(0.98, 0.99, n=1001), MNIST)
    assert not any(each.within for each in checks)
    assert "n 1000 of 1001; OUTSIDE" in str(checks[0])
    with pytest.raises(EngineError, match="digits@baseline answered no example of mnist_top5"):
        hold(summary, cards(0.98, 0.99), (AccuracyTest(model="digits", task="mnist_top5", n=9),))


@pytest.mark.parametrize(("n", "task", "says"), [(500, "mnist", "1000 examples of mnist, not 500"), (9, "r8", "no ")])
def test_a_card_of_another_number_of_examples_is_refused(n: int, task: str, says: str) -> None:
    tests = (*MNIST, AccuracyTest(model="digits", task=task, n=n))
    with pytest.raises(StackError, match=says) as refused:
        check_counts(cards(0.98, 0.99), tests)
    assert refused.value.field == "accuracy.tests[1].n"


def test_the_campaigns_ask_what_the_stacks_evaluate(tmp_path: Path) -> None:
    for family in FAMILIES.values():
        tests = asked_of(family)
        models = load(served(family, tests, tmp_path)).models
        assert {test.model for test in tests} == set(models)
        assert all(test.task in models[test.model].evaluate for test in tests)
        assert all(not family.only or tuple(model.variants) == family.only for model in models.values())
