import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from variants.evaluation.evaluate import SHIFTS, accuracy, contrast, evaluate
from variants.metrics.outcome import Outcome
from variants.tasks.base import Example, Split, Task, first_words, shuffled, without_repeats


class Parity(Task):
    name = "parity"
    kind = "text"
    labels = (" even", " odd")
    sources = ()

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        return {"test": [Example(f"p{i}", f"{i} is", self.labels[i % 2]) for i in range(20)], "train": []}


async def test_one_outcome_an_example_in_order() -> None:
    task = Parity()
    examples = task.examples("test")

    async def even(example: Example) -> str:
        await asyncio.sleep(0.001 * (20 - int(example.id[1:])))
        return " even"

    outcomes = await evaluate(task, examples, even)
    assert [outcome.example_id for outcome in outcomes] == [example.id for example in examples]
    assert [outcome.correct for outcome in outcomes] == [True, False] * 10
    (measured,) = accuracy(task, outcomes)
    assert (measured.task, measured.value, measured.n) == ("parity", 0.5, 20)
    assert measured.low < 0.5 < measured.high


async def test_no_more_questions_are_open_than_allowed() -> None:
    open_now = most = 0

    async def predict(example: Example) -> str:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.001)
        open_now -= 1
        return " even"

    await evaluate(Parity(), Parity().examples("test"), predict, concurrency=3)
    assert most == 3


async def test_an_unanswered_example_is_not_a_wrong_answer() -> None:
    async def predict(example: Example) -> str:
        raise ConnectionError("engine went away")

    with pytest.raises(ConnectionError, match="engine went away"):
        await evaluate(Parity(), Parity().examples("test", 4), predict)


async def test_repeats_are_refused() -> None:
    async def predict(example: Example) -> str:
        return ""

    with pytest.raises(ValueError, match="repeats are not data"):
        await evaluate(Parity(), Parity().examples("test", 1) * 2, predict)


def test_examples_are_a_prefix_and_never_fewer_than_asked_for() -> None:
    task = Parity()
    assert task.examples("test", 3) == task.examples("test")[:3]
    with pytest.raises(ValueError, match="20 examples in its test split, not 21"):
        task.examples("test", 21)
    with pytest.raises(ValueError, match="no split 'dev'"):
        task.examples("dev")  # type: ignore[arg-type]


def test_the_order_is_shuffled_and_does_not_depend_on_the_input_order() -> None:
    examples = Parity().examples("test")
    assert shuffled(examples) == shuffled(reversed(examples))
    assert shuffled(examples) != examples


def test_repeated_inputs_are_dropped() -> None:
    a, b, c = Example("1", "x", "l"), Example("2", "x", "l"), Example("3", "y", "l")
    assert without_repeats([a, b, c]) == [a, c]
    assert without_repeats([a, b, c], seen=[Example("9", "y", "l")]) == [a]


def test_words_are_cut_at_blanks() -> None:
    assert first_words(" a  b\nc d", 3) == "a b c"


def outcomes_of(answers: Sequence[str], labels: Sequence[str]) -> list[Outcome]:
    return [
        Outcome(example_id=str(number), label=label, answer=answer, correct=answer == label)
        for number, (answer, label) in enumerate(zip(answers, labels, strict=True))
    ]


@pytest.mark.parametrize(
    ("answers", "labels", "value"),
    [
        ([str(n) for n in range(20)], [str(n) for n in range(20)], 1.0),  # no other label is right
        ([" even", " odd"] * 10, [" even", " odd"] * 10, 2 / 3),  # of three others, one has the same label
        ([" even"] * 20, [" even"] * 20, None),  # every label is the same
        ([" odd"] * 20, ["zzz"] * 20, None),
        ([" even"] * SHIFTS, [" even"] * SHIFTS, None),
    ],
)
def test_the_contrast_is_what_labels_can_tell(answers: list[str], labels: list[str], value: float | None) -> None:
    assert contrast(Parity(), outcomes_of(answers, labels)) == (value and pytest.approx(value, abs=1e-6))


async def test_the_contrast_is_in_the_accuracy_of_the_first_metric() -> None:
    async def right(example: Example) -> str:
        return example.label

    (measured,) = accuracy(Parity(), await evaluate(Parity(), Parity().examples("test"), right))
    assert measured.contrast is not None
    assert 0 < measured.contrast < 1
