"""What the figures say and do not say, in sentences made from the figures.

No adjective without its number beside it. "Not shown to differ" is never put as "equal", and only what is faster at one
request and at saturation is called faster: a method that saves bytes alone is said to save bytes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from serve.study.schema import Between, Measure, Study, StudyCard
from variants.artifacts.card import Ratio, Speedup
from variants.reports.formats import number, points, share, size

Verdict = Literal["better", "worse", "not shown to differ"]
Speed = Literal["faster", "slower", "not faster"]
_WAYS = ("as adapter", "healed after a cut", "calibrated")


def says(card: StudyCard, parent: StudyCard | None) -> str:
    """One sentence a variant."""
    if parent is None or card.paired_difference is None:
        found = f"{card.accuracy.metric} {value(card.accuracy.value, card.unit)} on {card.accuracy.n:,} examples"
        return f"{card.variant}: {found}, {size(card.served_bytes)}."
    parts = [
        accuracy(card, parent),
        *_agreement(card),
        *_others(card),
        *_distances(card, parent),
        bytes_saved(card, parent),
        *_speed(card, parent),
        *_zeros(card),
    ]
    return f"{card.variant} {'; '.join(parts)}."


def accuracy(card: StudyCard, parent: StudyCard) -> str:
    """Its distance to its parent, with the interval, and the verdict."""
    assert card.paired_difference is not None
    found, between = card.paired_difference, interval(card.paired_difference, card.unit)
    where = f"on {card.accuracy.n:,} examples of {card.task}: {verdict(found, card.better)}"
    if card.unit == "share":
        return f"is {points(found.value)} points ({between}) from {parent.variant} {where}"
    by = signed(found.value)
    return (
        f"is {by} ({between}) from {parent.variant}'s {card.accuracy.metric} of {number(parent.accuracy.value)} {where}"
    )


def verdict(found: Between, better: str) -> Verdict:
    if found.low <= 0 <= found.high:
        return "not shown to differ"
    return "better" if (found.low > 0) == (better == "higher") else "worse"


def _agreement(card: StudyCard) -> Iterable[str]:
    if card.agreement:
        yield f"gives the same answer to {share(card.agreement.value)}"


def _others(card: StudyCard) -> Iterable[str]:
    """Further tasks and metrics, each with its own verdict."""
    for other in card.others:
        if other.paired_difference:
            what = other.task if other.accuracy.metric == "accuracy" else f"{other.task} ({other.accuracy.metric})"
            by = " points" if other.unit == "share" else ""
            found = difference(other.paired_difference, other.unit)
            yield f"on {what} {found}{by}: {verdict(other.paired_difference, other.better)}"


def _distances(card: StudyCard, parent: StudyCard) -> Iterable[str]:
    """Without a verdict: a distance of sets has no interval here."""
    for one, other in zip(card.distances, parent.distances, strict=False):
        if (one.task, one.n, one.real) == (other.task, other.n, other.real):
            yield (
                f"draws at a Fréchet distance of {number(one.value)} from {one.real:,} real pictures, "
                f"{parent.variant} at {number(other.value)} ({one.n:,} drawn by each)"
            )


def executed(card: StudyCard) -> str:
    """The precision, and what the engine computes in where that is another; of int8, what is not quantized."""
    if card.executes in (None, card.precision) or card.precision == "int8-dynamic":
        return card.precision
    return f"{card.precision}, {'rest ' if card.precision == 'int8' else ''}in {card.executes}"


def bytes_saved(card: StudyCard, parent: StudyCard) -> str:
    ratio = card.served_bytes / parent.served_bytes
    if card.served_bytes > card.artifact_bytes:
        return f"adds {size(card.artifact_bytes)} to {parent.variant}'s {size(parent.served_bytes)}"
    if abs(ratio - 1) < 0.005:
        return "has as many bytes"
    return f"has {ratio:.2f} times the bytes"


def _speed(card: StudyCard, parent: StudyCard) -> Iterable[str]:
    """Both ratios, and a word for them."""
    if card.speedup is None:
        return
    single, full = card.speedup.single, card.speedup.saturated
    found = speed_verdict(card.speedup)
    said = "not shown to be faster" if found == "not faster" else found
    saves = card.served_bytes < 0.995 * parent.served_bytes and max(single.low, full.low) <= 1
    only = ", so it saves bytes and not time" if saves else ""
    yield f"is {said}, {ratio(single)} times as fast at one request and {ratio(full)} times at saturation{only}"
    if card.speedup.inference is not None:
        yield f"its forward pass alone runs at {ratio(card.speedup.inference)} times its parent's rate"


def speed_verdict(found: Speedup) -> Speed:
    """Faster or slower where both intervals lie on one side of 1."""
    if min(found.single.low, found.saturated.low) > 1:
        return "faster"
    return "slower" if max(found.single.high, found.saturated.high) < 1 else "not faster"


def ratio(found: Ratio) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _zeros(card: StudyCard) -> Iterable[str]:
    if card.structured is False:
        yield "its zeros stand in a model of the same shape, and the engine multiplies by them all the same"


def limits(study: Study) -> tuple[str, ...]:
    """What the figures do not say."""
    return tuple(_limits(study.cards))


def _limits(cards: Sequence[StudyCard]) -> Iterable[str]:
    yield (
        "Latency, throughput and cost are of one run of each engine alone. How many times as fast is of both engines "
        "asked in turns, the same examples each round: ratios may carry over to a like machine, milliseconds do not."
    )
    yield "The client asks from the same machine, and its share of each request makes ratios of speed look smaller."
    if any(card.family == "text-generation" for card in cards):
        yield (
            "Speed of text generation is of labelled requests, which end after one token: of reading a prompt. A "
            "variant that is faster or slower there need not be so at the tokens of a long answer."
        )
    judged = [card for card in cards if card.paired_difference]
    pairs = len(judged) + sum(other.paired_difference is not None for card in cards for other in card.others)
    if pairs > 1:
        yield (
            f"Each interval misses the truth 1 time in 20 by itself, and there are {pairs} paired differences: "
            f"expect {pairs / 20:.1f} that do."
        )
    unsure = [card for card in judged if card.unit == "share" and _undecided(card)]
    if unsure:
        worst = min(unsure, key=_worst)
        yield (
            f"Not shown to differ is not equal: with {worst.accuracy.n:,} examples of {worst.task} a loss of up to "
            f"{max(0.0, -100 * _worst(worst)):.1f} points of {worst.name} is compatible with what was seen."
        )
    by_name = {(card.model, card.variant): card for card in cards}
    if ways := Counter(filter(None, (_learned(card, by_name) for card in cards))):
        how = ", ".join(f"{count} {way}" for way, count in ways.items())
        yield (
            f"Some variants learned from other examples of a task that they are measured on ({how}): what they gain or "
            "keep there says nothing of other tasks."
        )
    yield "Examples come from held-out splits, but a published model may have seen them when it was trained."


def _learned(card: StudyCard, cards: Mapping[tuple[str, str], StudyCard]) -> str | None:
    """How a variant, or one that it was made from, learned from a task that it is measured on; None where none did. Of
    several ways the one that teaches most."""
    measured = {card.task, *(other.task for other in card.others)}
    line = [card]
    while (parent := cards.get((card.model, line[-1].parent or ""))) is not None and parent not in line:
        line.append(parent)
    ways = {_taught(each.recipe, measured) for each in line}
    return next((way for way in _WAYS if way in ways), None)


def _taught(recipe: Mapping[str, Any], measured: Collection[str]) -> str | None:
    """How this one recipe learns from any of these tasks."""
    recovery, calibration = (recipe.get(name, {}).get("task") for name in ("recovery", "calibration"))
    if recipe["kind"] == "lora" and recipe["task"] in measured:
        return "as adapter"
    if any(task in measured for task in (recovery, *recipe.get("distillation", {}).get("tasks", ()))):
        return "healed after a cut"
    return "calibrated" if calibration in measured else None


def _undecided(card: StudyCard) -> bool:
    return card.paired_difference is not None and verdict(card.paired_difference, card.better) == "not shown to differ"


def _worst(card: StudyCard) -> float:
    """The end of the interval at which the variant is worst, as a change for the worse below 0."""
    assert card.paired_difference is not None
    return card.paired_difference.low if card.better == "higher" else -card.paired_difference.high


def value(found: float, unit: str) -> str:
    return share(found) if unit == "share" else number(found)


def measure(found: Measure, unit: str) -> str:
    """79.0 % (72.8 to 84.1), the interval in the same unit."""
    if unit == "share":
        return measure_share(Between(value=found.value, low=found.low, high=found.high))
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def measure_share(found: Between) -> str:
    return f"{share(found.value)} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def difference(found: Between, unit: str) -> str:
    by = points(found.value) if unit == "share" else signed(found.value)
    return f"{by} ({interval(found, unit)})"


def interval(found: Between, unit: str) -> str:
    if unit == "share":
        return f"{points(found.low)} to {points(found.high)}"
    return f"{signed(found.low)} to {signed(found.high)}"


def signed(found: float) -> str:
    """+0.98, −3.1: three digits that matter, with the sign."""
    text = number(abs(found))
    return text if not float(text.replace(",", "")) else f"{'+' if found > 0 else '−'}{text}"
