"""Sentences on what the figures of a study show, and on what they do not show.

A verdict stands beside its figures. "Not shown to differ" is never called "equal". A variant is only called faster if
it is faster both at one request and at saturation.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from serve.study.schema import Between, StudyCard
from variants.artifacts.card import Speedup
from variants.reports import sentences
from variants.reports.formats import difference, number, points, ratio, share, signed, size, span

Verdict = Literal["better", "worse", "not shown to differ"]
Speed = Literal["faster", "slower", "not shown to be faster"]
_WAYS = ("as adapter", "healed after a cut", "calibrated")


def says(card: StudyCard, parent: StudyCard | None) -> str:
    """The sentence of one variant."""
    if parent is None or card.paired_difference is None:
        value = card.accuracy.value
        figure = share(value) if card.unit == "share" else number(value)
        return (
            f"{card.variant}: {card.accuracy.metric} {figure} on {card.accuracy.n:,} examples, "
            f"{size(card.served_bytes)}."
        )
    parts = [
        accuracy(card, card.paired_difference, parent),
        *_agreement(card),
        *_others(card),
        *_distances(card, parent),
        bytes_saved(card, parent),
        *_speed(card, parent),
        *_zeros(card),
    ]
    return f"{card.variant} {'; '.join(parts)}."


def accuracy(card: StudyCard, paired: Between, parent: StudyCard) -> str:
    """The paired difference to the parent, with its interval and the verdict."""
    ends = span(paired, card.unit)
    where = f"on {card.accuracy.n:,} examples of {card.task}: {verdict(paired, card.better)}"
    if card.unit == "share":
        return f"is {points(paired.value)} points ({ends}) from {parent.variant} {where}"
    theirs = f"{parent.variant}'s {card.accuracy.metric} of {number(parent.accuracy.value)}"
    return f"is {signed(paired.value)} ({ends}) from {theirs} {where}"


def verdict(paired: Between, better: str) -> Verdict:
    return sentences.verdict(paired, better) or "not shown to differ"


def _agreement(card: StudyCard) -> Iterable[str]:
    if card.agreement:
        yield f"gives the same answer to {share(card.agreement.value)}"


def _others(card: StudyCard) -> Iterable[str]:
    """Further tasks and metrics, each with its own verdict."""
    for other in card.others:
        if other.paired_difference:
            what = other.task if other.accuracy.metric == "accuracy" else f"{other.task} ({other.accuracy.metric})"
            by = " points" if other.unit == "share" else ""
            figure = difference(other.paired_difference, other.unit)
            yield f"on {what} {figure}{by}: {verdict(other.paired_difference, other.better)}"


def _distances(card: StudyCard, parent: StudyCard) -> Iterable[str]:
    """Without a verdict, since distances of sets have no intervals here."""
    for one, other in zip(card.distances, parent.distances, strict=False):
        if (one.task, one.n, one.real) == (other.task, other.n, other.real):
            yield (
                f"draws at a Fréchet distance of {number(one.value)} from {one.real:,} real pictures, "
                f"{parent.variant} at {number(other.value)} ({one.n:,} drawn by each)"
            )


def bytes_saved(card: StudyCard, parent: StudyCard) -> str:
    times = card.served_bytes / parent.served_bytes
    if card.served_bytes > card.artifact_bytes:
        return f"adds {size(card.artifact_bytes)} to {parent.variant}'s {size(parent.served_bytes)}"
    if abs(times - 1) < 0.005:
        return "has as many bytes"
    return f"has {times:.2f} times the bytes"


def _speed(card: StudyCard, parent: StudyCard) -> Iterable[str]:
    """Both ratios, with the verdict on them."""
    if card.speedup is None:
        return
    single, full = card.speedup.single, card.speedup.saturated
    saves = card.served_bytes < 0.995 * parent.served_bytes and max(single.low, full.low) <= 1
    only = ", so it saves bytes and not time" if saves else ""
    first = f"is {speed_verdict(card.speedup)}, {ratio(single)} times as fast at one request"
    yield f"{first} and {ratio(full)} times at saturation{only}"
    if card.speedup.inference is not None:
        yield f"its forward pass alone runs at {ratio(card.speedup.inference)} times its parent's rate"


def speed_verdict(speedup: Speedup) -> Speed:
    """Faster or slower where both intervals are on one side of 1."""
    if min(speedup.single.low, speedup.saturated.low) > 1:
        return "faster"
    return "slower" if max(speedup.single.high, speedup.saturated.high) < 1 else "not shown to be faster"


def _zeros(card: StudyCard) -> Iterable[str]:
    if card.structured is False:
        yield "its zeros are in a model of the same shape, so the engine still multiplies by them"


def limits(cards: Sequence[StudyCard]) -> Iterable[str]:
    """Sentences on what the figures do not show."""
    yield (
        "Latency, throughput and cost are of one run of each engine alone. How many times as fast is of both engines "
        "asked in turns, the same examples each round. On a similar machine the ratios may be the same, the "
        "milliseconds are not."
    )
    yield "The client runs on the same machine. Its share of each request makes ratios of speed look smaller."
    if any(card.family == "text-generation" for card in cards):
        yield (
            "Speed of text generation is of labelled requests, which end after one token: it is the speed of reading a "
            "prompt. With the tokens of a long answer it may be another."
        )
    pairs = sum(card.paired_difference is not None for card in cards)
    pairs += sum(other.paired_difference is not None for card in cards for other in card.others)
    if pairs > 1:
        yield sentences.misses(pairs)
    unsure = [
        (_worst(paired, card.better), card)
        for card in cards
        if (paired := card.paired_difference) and card.unit == "share" and not sentences.verdict(paired, card.better)
    ]
    if unsure:
        worst, card = min(unsure, key=lambda pair: pair[0])
        yield sentences.not_equal("Not shown to differ", card.accuracy.n, card.task, worst, card.name)
    by_name = {(card.model, card.variant): card for card in cards}
    if ways := Counter(filter(None, (_learned(card, by_name) for card in cards))):
        how = ", ".join(f"{count} {way}" for way, count in ways.items())
        yield (
            f"Some variants learned from other examples of a task that they are measured on ({how}): what they gain or "
            "keep there shows nothing about other tasks."
        )
    yield "Examples come from held-out splits, but a published model may have seen them when it was trained."


def _learned(card: StudyCard, cards: Mapping[tuple[str, str], StudyCard]) -> str | None:
    """How a variant, or one that it was made from, learned from a task that it is measured on; None if none did. Of
    several ways, the first in _WAYS, from which most is learned."""
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


def _worst(paired: Between, better: str) -> float:
    """The end of the interval at which the variant is worst; negative for a loss."""
    return paired.low if better == "higher" else -paired.high
