"""Checks whether an accuracy under load lies within the interval of the card of the same artifact.

Both must be of the same number of examples: the interval of a whole task says nothing about a part of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from loadtest.campaign.schema import AccuracyTest
from loadtest.results import schema
from loadtest.results.schema import Summary
from variants.artifacts.card import Accuracy
from variants.errors import EngineError, StackError

Cards = Mapping[str, Sequence[Accuracy]]
"""The accuracies on each card, by the digest of its artifact."""


class AccuracyCheck(NamedTuple):
    """The accuracy of one variant on one task, under load and on its card."""

    variant: str
    live: schema.AccuracyFigure
    card: Accuracy

    @property
    def within(self) -> bool:
        return self.live.n == self.card.n and self.card.low <= self.live.value <= self.card.high

    def __str__(self) -> str:
        live, card = self.live, self.card
        of = "" if live.n == card.n else f" of {card.n}"
        return (
            f"{self.variant} {live.task} {live.metric}: {live.value:.3f} under load, n {live.n}{of}; "
            f"{'within' if self.within else 'OUTSIDE'} its card's {card.value:.3f} [{card.low:.3f}, {card.high:.3f}]"
        )

    def row(self) -> dict[str, Any]:
        card = self.card.model_dump(include={"value", "low", "high", "n"})
        live = self.live.model_dump(include={"task", "metric", "value", "n"})
        return {"variant": self.variant, **live, "card": card, "within": self.within}


def check_counts(cards: Cards, tests: Sequence[AccuracyTest]) -> None:
    """Raises StackError if a campaign asks another number of examples than the cards were measured on."""
    for number, test in enumerate(tests):
        counts = {each.n for card in cards.values() for each in card if each.task == test.task}
        if counts != {test.n}:
            measured = " and ".join(map(str, sorted(counts))) or "no"
            raise StackError(
                f"the cards are of {measured} examples of {test.task}, not {test.n}",
                field=f"accuracy.tests[{number}].n",
                mend="give the number that the cards are of, and list the task under the model's `evaluate`",
            )


def hold(summary: Summary, cards: Cards, tests: Sequence[AccuracyTest]) -> list[AccuracyCheck]:
    """One check for each test and variant. Raises EngineError if a variant answered no example."""
    checks = []
    for test in tests:
        (model,) = (each for each in summary.models if each.model == test.model)
        for variant in model.variants:
            name = f"{model.model}@{variant.variant}"
            live = next((each for each in variant.accuracy if each.task == test.task), None)
            if live is None:
                raise EngineError(f"{name} answered no example of {test.task}", mend="see the campaign's records")
            card = next(
                each for each in cards[variant.artifact_sha256] if (each.task, each.metric) == (live.task, live.metric)
            )
            checks.append(AccuracyCheck(name, live, card))
    return checks
