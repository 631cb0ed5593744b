"""What the cards of a variant and its parent say, beside what live requests say."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

from serve.config.artifacts import cards_of
from serve.config.lineage import compressions_of
from serve.config.snapshot import ServedVariant, Snapshot
from serve.config.stack import Model
from serve.control.rollout import Rollout, RolloutPlan, read_search
from variants.artifacts.card import Accuracy, Card, Difference
from variants.errors import InputError
from variants.evidence.betting import DEFAULT, Bets, Tally, lower_bound, upper_bound
from variants.evidence.paired import bets_on, bets_on_harm
from variants.machine import describe


@dataclass(frozen=True)
class CardBeside:
    """`difference` of the variant from its parent, `accuracy` of the parent, `same` the share of equal answers. None
    where no card of this machine has it."""

    difference: Difference | None = None
    accuracy: Accuracy | None = None
    same: float | None = None

    @property
    def contrast(self) -> float | None:
        """What labels can tell at most; older cards have no contrast, but it is never above the accuracy."""
        if self.accuracy is None:
            return None
        return self.accuracy.contrast or self.accuracy.value or None

    def bets(self, delta: float | None) -> Bets:
        """Bets that expect the difference of the card, against a mean of -`delta`."""
        if self.same is None or self.difference is None or delta is None:
            return DEFAULT
        return bets_on(self.difference.value, 1 - self.same, -delta)

    def harm_bets(self, delta: float | None) -> Bets:
        """Bets on a loss that is clearly above `delta`. The card says how often answers differ."""
        return DEFAULT if self.same is None or delta is None else bets_on_harm(1 - self.same, delta)

    def to_json(self, live: Tally, alpha: float) -> dict[str, Any]:
        """The card's difference beside the live one. `contradicts`: their intervals have nothing in common."""
        card = self.difference
        interval = (lower_bound(live, alpha), upper_bound(live, alpha)) if live.n else None
        apart = card is not None and interval is not None and (card.low > interval[1] or card.high < interval[0])
        return {
            "difference": card and card.model_dump(mode="json"),
            "parent_accuracy": self.accuracy and self.accuracy.value,
            "contrast": self.contrast,
            "live": interval and {"n": live.n, "value": live.mean, "low": interval[0], "high": interval[1]},
            "contradicts": apart,
        }


def newest(cards: Sequence[Card], served: ServedVariant, at: float = inf) -> Card | None:
    """The newest card of a variant with an accuracy, for this machine and its engine's settings, made until `at`."""
    fitting = newest_first(cards, served.engine.settings.model_dump(mode="json"))
    return next((each for each in fitting if each.accuracy and each.created.timestamp() <= at), None)


def newest_first(cards: Sequence[Card], engine: dict[str, Any]) -> Iterator[Card]:
    """The cards for this machine and the settings of an engine."""
    here = describe()
    return (each for each in reversed(cards) if (each.hardware, each.engine) == (here, engine))


def card_beside(*line: Card | None) -> CardBeside:
    """The figures of the task by which the last of a line is judged: the first of its card.

    `line` has the cards of the parent and of each that was made from it. Their differences add up, with the ends of
    their intervals, and so do their shares of other answers. Where the sum is not known, the difference is that of the
    last step."""
    of_parent = line[0].accuracy[0] if line[0] else None
    cards = [each for each in line if each is not None]
    made_from, own = line[-2:]
    last = difference_to(made_from, own) if made_from is not None and own is not None else None
    if len(cards) < len(line) or of_parent is None:
        return CardBeside(last, of_parent)
    made = list(pairwise(cards))
    difference = added([difference_to(parent, variant) for parent, variant in made], cards[0].digest) or last
    others = [1 - same if (same := same_as(parent, variant)) is not None else None for parent, variant in made]
    known = [each for each in others if each is not None]
    task = difference.task if difference else of_parent.task
    accuracy = next((each for each in cards[0].accuracy if each.task == task), of_parent)
    return CardBeside(
        difference,
        accuracy if accuracy.metric == "accuracy" else None,
        max(0.0, 1 - sum(known)) if len(known) == len(others) else None,
    )


def difference_to(parent: Card, variant: Card) -> Difference | None:
    differences = (each for each in variant.differences if each.parent == parent.digest and each.metric == "accuracy")
    return next(differences, None)


def same_as(parent: Card, variant: Card) -> float | None:
    return next((each.value for each in variant.agreement if each.parent == parent.digest), None)


def added(steps: Sequence[Difference | None], parent: str) -> Difference | None:
    """The difference over several steps from a parent's digest on; None where one is not known or of another task."""
    known = [each for each in steps if each is not None]
    if len(known) < len(steps) or len({each.task for each in known}) > 1:
        return None
    sums = {name: sum(getattr(each, name) for each in known) for name in ("value", "low", "high")}
    return known[-1].model_copy(update={"parent": parent, "n": min(each.n for each in known), **sums})


def check_card(card: CardBeside, plan: RolloutPlan) -> None:
    """Raises InputError where the card proves the variant worse than the gate allows, unless the plan says why."""
    known, delta = card.difference, plan.gate.quality
    if plan.gate.floor is not None and card.accuracy is not None:
        delta = (1 - plan.gate.floor) * card.accuracy.value
    if known is None or delta is None or plan.against_card is not None or known.high >= -delta:
        return
    raise InputError(
        f"{plan.variant} is proven worse on its card than the gate allows: {known.value:+.3f} "
        f"({known.low:+.3f} to {known.high:+.3f}) on {known.n} examples of {known.task}, allowed are {-delta:+.3f}",
        field="variant",
        mend='choose another variant, or say why: --against-card "why" (against_card)',
    )


class Cards:
    """The cards of what is served: differences, costs, and the plan of a search by them. `begun` has, by model, those
    of a rollout's beginning."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self.snapshot = snapshot
        self.begun: dict[str, tuple[tuple[int, str], CardBeside]] = {}

    def beside(self, model: str, parent: str, plan: RolloutPlan, at: float = inf) -> CardBeside:
        """What the cards of this machine said of a variant and its parent at a time in seconds since the epoch; nothing
        where one is no longer served. Bets and limits must not change during a rollout."""
        snapshot, line = self.snapshot(), [parent, plan.compared(parent)]
        if not {(model, name) for name in line} <= set(snapshot.variants):
            return CardBeside()
        made = compressions_of(snapshot.stack.models[model].variants, plan.variant)
        if made[0] == parent and not plan.aa:
            line = made
        served = [snapshot.variants[model, name] for name in line]
        cards = cards_of(model)
        return card_beside(*(newest(cards.get(each.manifest.digest, ()), each, at) for each in served))

    def plan_search(
        self, model: str, settings: Model, document: dict[str, Any]
    ) -> tuple[RolloutPlan, str, tuple[str, ...]]:
        """The plan for the cheapest candidate, its parent, and the other candidates, cheapest first.

        Costs are from the cards of this machine. Raises InputError if they show no variant cheaper than its parent."""
        search, parent, children = read_search(document, settings, model)
        costs = self.costs_of(model, [parent, *children])
        if costs[parent] is None or not any(costs[child] is not None for child in children):
            raise InputError(
                f"{parent} and its variants have no costs measured on this machine",
                field="objective",
                mend=f"measure them: understudy evaluate {model}",
            )
        known = {child: cost for child in children if (cost := costs[child]) is not None and cost < costs[parent]}
        if not known:
            raise InputError(f"no variant of {model} costs less than {parent}", field="objective")
        cheapest_first = sorted(known, key=lambda child: known[child])
        refusals = {child: self.refusal_by_card(model, parent, search.plan(child, 1)) for child in cheapest_first}
        left = [child for child in cheapest_first if refusals[child] is None]
        if not left:
            raise InputError("; ".join(str(each) for each in refusals.values()), field="objective")
        return search.plan(left[0], len(left)), parent, tuple(left[1:])

    def refusal_by_card(self, model: str, parent: str, plan: RolloutPlan) -> InputError | None:
        """Why the cards forbid a plan; None where they do not."""
        try:
            check_card(self.beside(model, parent, plan), plan)
        except InputError as error:
            return error
        return None

    def costs_of(self, model: str, variants: list[str]) -> dict[str, Any]:
        cards = cards_of(model)
        served = {name: self.snapshot().variants[model, name] for name in variants}
        return {
            name: cost_of(cards.get(variant.manifest.digest, ()), variant.engine.settings.model_dump(mode="json"))
            for name, variant in served.items()
        }

    def at_begin(self, model: str, rollout: Rollout) -> CardBeside:
        """The cards at the rollout's beginning, which are read once: a verdict is due every second."""
        key, known = (rollout.began, rollout.pair), self.begun.get(model)
        if known is None or known[0] != key:
            known = key, self.beside(model, rollout.parent, rollout.plan, rollout.began_at or inf)
            self.begun[model] = known
        return known[1]


def cost_of(cards: tuple[Card, ...], engine: dict[str, Any]) -> float | None:
    """CPU-seconds per 1,000 requests, from the newest card with a cost for this machine and these settings."""
    return next((cost for card in newest_first(cards, engine) if (cost := card.cost_cpu_s)), None)
