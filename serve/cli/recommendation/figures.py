"""The figures that a recommendation is made from: of cards and a short load, or of a campaign.

A card and a campaign compare a variant with its parent. The shares are multiplied along its parents, up to the model's
baseline. Costs are engine-seconds: what an engine alone on this machine takes for 1,000 requests at saturation."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from serve.client.short_load import Waits, short_load
from serve.config.lineage import VariantRef, reference_of
from serve.config.stack import Stack
from serve.control.card_beside import newest_first
from serve.evaluation.evaluate import settings_of
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.errors import InputError, UnknownName
from variants.evidence.intervals import Interval
from variants.evidence.recommendation import ONE, Candidate, product, share_by_quantiles, share_within
from variants.home import home
from variants.metrics.pictures import CONTRAST

OBJECTIVE = re.compile(r"\s*(ttft|latency)\s*<\s*(\d+(?:\.\d+)?)\s*s\s*")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
TEXTS = ("text", "passage")


class Objective(NamedTuple):
    """A limit on the time to the first token (`ttft`), or to the whole answer (`latency`)."""

    measure: Literal["ttft", "latency"]
    limit_s: float


class Figures(NamedTuple):
    """One variant. `engine_s` for 1,000 requests, and `bytes` of its artifact; None where they are not known."""

    candidate: Candidate
    engine_s: float | None
    bytes: int | None


class Step(NamedTuple):
    """A variant beside its parent: the shares of its parent's quality and cost. The baseline has none: `parent` is
    None, and `engine_s` are its engine-seconds."""

    parent: str | None
    quality: Interval | None = None
    cost: Interval | None = None
    engine_s: float | None = None
    bytes: int | None = None


def read_objective(text: str) -> Objective:
    """`ttft<0.5s`. Raises InputError."""
    parts = OBJECTIVE.fullmatch(text)
    if parts is None:
        raise InputError(f"{text!r} is no objective", field="--slo", mend='"ttft<0.5s", or "latency<2s"')
    measure: Literal["ttft", "latency"] = "ttft" if parts[1] == "ttft" else "latency"
    return Objective(measure, float(parts[2]))


def figures_of(
    stack: Stack, model: str, objective: Objective | None, results: Path | None, target: str | None
) -> list[Figures]:
    """The figures of each variant of the model, from the campaign's summary `results` where it is given. Raises
    UnknownName, InputError where there is nothing to decide from, EngineError."""
    if model not in stack.models:
        raise UnknownName(f"there is no model {model!r} in the stack", mend=f"known are {', '.join(stack.models)}")
    if objective and results is None and target is None:
        raise InputError(
            "cards do not say how soon answers come",
            field="--slo",
            mend="--target URL for a short load, or --campaign-results",
        )
    within: Mapping[str, Interval | None] = {}
    if results is not None:
        summary = read_summary(results, model)
        steps = with_baseline(steps_of_campaign(summary), stack, model)
        if objective:
            within = {each["variant"]: by_quantiles(each, objective) for each in summary["variants"]}
    else:
        steps = steps_of_cards(stack, model)
        if objective and target:
            waits = load_on(stack, model, list(steps), target)
            within = {
                name: share_within(getattr(each, objective.measure), objective.limit_s) for name, each in waits.items()
            }
    return [figures(steps, name, within.get(name)) for name in steps]


def figures(steps: Mapping[str, Step], name: str, within: Interval | None) -> Figures:
    """A variant's shares of the baseline's quality and cost, and what they come to."""
    quality: Interval | None = ONE
    cost: Interval | None = ONE
    root = name
    while (parent := steps[root].parent) is not None:
        quality, cost = product(quality, steps[root].quality), product(cost, steps[root].cost)
        root = parent
    if root != next(each for each in steps if steps[each].parent is None):  # another baseline: nothing compares the two
        quality = cost = None
    baseline_s = steps[root].engine_s
    engine_s = None if cost is None or baseline_s is None else baseline_s * cost.value
    return Figures(Candidate(name, quality, cost, within), engine_s, steps[name].bytes)


def steps_of_cards(stack: Stack, model: str) -> dict[str, Step]:
    """From the newest card of each variant's current artifact, made on this machine. Raises InputError without one of
    the baseline."""
    refs = [(model, variant) for variant in stack.models[model].variants]
    cards = {ref: card_of(stack, ref) for ref in refs}
    steps = {}
    for ref, card in cards.items():
        reference = reference_of(stack, ref)
        if reference is None:
            if card is None:
                mend = f"measure it: understudy evaluate {model}"
                raise InputError(f"{model}@{ref[1]} has no card of this machine", field="MODEL", mend=mend)
            engine_s = 1000 / card.throughput_per_s if card.throughput_per_s else None
            steps[ref[1]] = Step(None, engine_s=engine_s, bytes=card.artifact_bytes)
        else:
            parent = cards[reference]
            beside = card if card and parent and card.parent_digest == parent.digest else None
            steps[ref[1]] = Step(reference[1], *shares_of(beside), bytes=card.artifact_bytes if card else None)
    return steps


def card_of(stack: Stack, ref: VariantRef) -> Card | None:
    try:
        entry = Catalog(home()).model(ref[0])
        cards = entry.cards.get(entry.current(ref[1]).digest, ())
    except UnknownName:
        return None
    return next((each for each in newest_first(cards, settings_of(stack, ref)) if each.accuracy), None)


def shares_of(card: Card | None) -> tuple[Interval | None, Interval | None]:
    """The share of the parent's quality, by the first metric, and of its engine-seconds."""
    if card is None:
        return None, None
    figure, quality = card.accuracy[0], None
    if figure.metric == CONTRAST.name:  # pictures without labels: other pictures may have as much of it
        return None, cost_of(card)
    difference = next(
        (each for each in card.differences if (each.task, each.metric) == (figure.task, figure.metric)), None
    )
    if difference is not None and figure.better == "higher":
        quality = kept(figure.value - difference.value, difference.value, difference.low, difference.high)
    return quality, cost_of(card)


def cost_of(card: Card) -> Interval | None:
    if not card.speedup:
        return None
    ratio = card.speedup.saturated
    return Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)


def kept(parent: float, difference: float, low: float, high: float) -> Interval | None:
    """The share of the parent's figure that is left after the difference."""
    if parent <= 0:
        return None
    value, least, most = (max(0.0, 1 + each / parent) for each in (difference, low, high))
    return Interval(value, least, most)


def read_summary(path: Path, model: str) -> dict[str, Any]:
    """The model's part of a campaign's summary. Raises InputError."""
    try:
        models = json.loads(path.read_bytes())["models"]
        return next(dict(each) for each in models if each["model"] == model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is no campaign's summary: {error!r:.80}"
        raise InputError(message, field="--campaign-results", mend="summary.json of `understudy load`") from None
    except StopIteration:
        raise InputError(f"{path} has no figures of {model}", field="--campaign-results") from None


def steps_of_campaign(summary: Mapping[str, Any]) -> dict[str, Step]:
    """From the accuracy and the speed part of a campaign."""
    beside = {each["variant"]: each for each in summary["comparisons"]}
    accuracy = {each["variant"]: each["accuracy"] for each in summary["variants"]}
    steps = {}
    for each in summary["variants"]:
        name, rate, compared = each["variant"], each["throughput_rps"], beside.get(each["variant"])
        quality = cost = None
        if compared and compared["accuracy"] and accuracy[compared["parent"]]:
            difference = compared["accuracy"][0]
            quality = kept(
                accuracy[compared["parent"]][0]["value"],
                difference["difference"],
                difference["low"],
                difference["high"],
            )
        if compared and compared["speed"] and compared["speed"]["low"] > 0:
            ratio = compared["speed"]
            cost = Interval(1 / ratio["median"], 1 / ratio["high"], 1 / ratio["low"])
        parent = compared["parent"] if compared else None
        steps[name] = Step(parent, quality, cost, 1000 / rate if rate else None, each["artifact_bytes"])
    return steps


def with_baseline(steps: Mapping[str, Step], stack: Stack, model: str) -> dict[str, Step]:
    """The steps, in which a variant that was compared with nothing has its parent and no figures. Raises InputError
    where the campaign did not measure the baseline."""
    parents = {
        name: stack.models[model].variants[name].parent for name in steps if name in stack.models[model].variants
    }
    root = next((name for name, parent in parents.items() if parent is None), None)
    if root is None:
        message = f"the campaign did not measure the baseline of {model}"
        raise InputError(message, field="--campaign-results", mend="a campaign with all variants that are compared")
    alone = {name for name, parent in parents.items() if parent is not None and steps[name].parent is None}
    return {
        name: step._replace(parent=root, quality=None, cost=None) if name in alone else step
        for name, step in steps.items()
    }


def by_quantiles(variant: Mapping[str, Any], objective: Objective) -> Interval | None:
    """The share within the objective while the variant was alone and saturated."""
    known = variant[f"{objective.measure}_s"]
    if known is None:
        return None
    return share_by_quantiles({share: known[name] for name, share in QUANTILES.items()}, known["n"], objective.limit_s)


def load_on(stack: Stack, model: str, variants: list[str], target: str) -> dict[str, Waits]:
    """The waits under a short load of examples of the model's first task with texts. Raises InputError."""
    tasks = stack.all_tasks
    name = next((each for each in stack.models[model].evaluate if each in tasks and tasks.kind(each) in TEXTS), None)
    if name is None:
        message = f"{model} has no task with texts for a short load"
        raise InputError(message, field="--target", mend="--campaign-results of a campaign")
    return short_load(target, model, variants, tasks.get(name, home()).examples("test", 40))
