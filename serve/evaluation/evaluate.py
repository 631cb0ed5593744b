"""Evaluates a stack's variants, each through the engine that will serve it, and files the cards in the catalog."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from serve.config.artifacts import build_stack
from serve.config.lineage import VariantRef, line_of, parents_first, reference_of, select_variants
from serve.config.snapshot import served_variant
from serve.config.stack import Stack
from serve.evaluation.measure import CLIENTS, Examples, Measured, held_out, measure, task_of
from variants import tasks
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import Manifest
from variants.artifacts.outcome_store import Conditions, OutcomeStore
from variants.artifacts.store import Artifact
from variants.errors import InputError
from variants.evaluation.evaluate import accuracy
from variants.evaluation.paired import agreement, differences
from variants.home import home
from variants.machine import describe, versions
from variants.metrics.outcome import Outcome
from variants.progress import Progress, for_stream
from variants.tasks import Task

Artifacts = Mapping[VariantRef, Artifact]
OWN_LABELS = ("article", "image", "ranked", "boxes")
"""Kinds of tasks that are answered with the labels of the model's manifest, and with nothing else."""


class Required(NamedTuple):
    """What a card is to be of: how many examples of a task, and of which test split."""

    n: int
    test_sha256: str


class EngineRef(NamedTuple):
    """An artifact's digest, and the settings of the engine that it is asked through, as the stack file has them."""

    digest: str
    engine: dict[str, Any]


def evaluate_stack(stack: Stack, names: Sequence[str], count: int | None, again: bool) -> list[Card]:
    """The cards of the named variants (`model` or `model@variant`; all where none is named), measured where none will
    do, or `again`. `count` limits the examples of each task. Raises UnknownName, InputError, EngineError."""
    refs = select_variants(stack, names)
    artifacts, progress = build_stack(stack, {each for ref in refs for each in line_of(stack, ref)}), for_stream()
    cards = {}
    for ref in parents_first(stack, refs):
        examples = {name: held_out(task_of(name, progress), count) for name in stack.models[ref[0]].evaluate}
        cards[ref] = evaluate_variant(stack, artifacts, ref, examples, again, progress)
    return [cards[ref] for ref in refs]


def evaluate_variant(
    stack: Stack, artifacts: Artifacts, ref: VariantRef, examples: Examples, again: bool, progress: Progress
) -> Card:
    """One variant's card, out of the catalog or measured and filed there. What it is compared with is evaluated first,
    where its outcomes on the same examples, here and now, are not kept."""
    name = ref[0]
    if not examples:
        mend = f"name some of {tasks.NAMES}"
        raise InputError("no task to evaluate on", field=f"models.{name}.evaluate", mend=mend)
    check_labels(artifacts[ref].manifest, list(examples))
    asked_of = {task: task_of(task, progress) for task in examples}
    catalog, ours = Catalog(home()), asked_through(stack, artifacts, ref)
    reference = reference_of(stack, ref)
    parent = asked_through(stack, artifacts, reference) if reference else None
    if not again:
        wanted = {task: Required(len(asked), asked_of[task].test_sha256) for task, asked in examples.items()}
        known = catalog.model(name).cards.get(ours.digest, ())
        if card := newest_that_will_do(known, wanted, ours.engine, parent):
            return card
    theirs = outcomes_of(parent, examples, asked_of)
    if reference and theirs is None:
        evaluate_variant(stack, artifacts, reference, examples, True, progress)
        theirs = outcomes_of(parent, examples, asked_of)
    live = served_variant(stack, artifacts, ref, weight=0.0)  # alone, whatever its share
    beside = served_variant(stack, artifacts, reference, weight=0.0) if reference else None
    measured = asyncio.run(measure(live, beside, examples, progress))
    kept = OutcomeStore(home())
    for task, outcomes in measured.outcomes.items():
        kept.keep(ours.digest, task, Conditions.here(ours.engine, asked_of[task].test_sha256), outcomes)
    try:
        card = card_of(live.manifest, measured, ours.engine, parent, theirs or {}, asked_of)
    except ValueError as error:  # a figure that so few examples, or such answers, do not come to
        raise InputError(f"{live.name}: {error}", field=f"models.{name}.evaluate") from error
    catalog.add_card(name, card)
    return card


def check_labels(manifest: Manifest, names: Sequence[str]) -> None:
    """InputError where a task has labels that the model never answers with: whatever it says there counts as wrong."""
    ours = manifest.labels
    for task in (tasks.get(name) for name in names):
        never = [label for label in task.labels if ours is not None and label not in ours]
        if task.kind in OWN_LABELS and never:
            message = f"{manifest.model}@{manifest.variant} never answers {never[0]!r}, a label of {task.name}"
            mend = f"labels there are {_some(task.labels)}; the model's are {_some(ours or ())}"
            raise InputError(message, field=f"models.{manifest.model}.evaluate", mend=mend)


def _some(labels: Sequence[str]) -> str:
    return ", ".join([*labels[:10], *(["..."] if len(labels) > 10 else [])])


def settings_of(stack: Stack, ref: VariantRef) -> dict[str, Any]:
    """A variant's engine as the stack file has it, what it leaves out filled in."""
    return stack.models[ref[0]].variants[ref[1]].engine.model_dump(mode="json")


def asked_through(stack: Stack, artifacts: Artifacts, ref: VariantRef) -> EngineRef:
    return EngineRef(artifacts[ref].manifest.digest, settings_of(stack, ref))


def outcomes_of(
    asked: EngineRef | None, examples: Examples, asked_of: Mapping[str, Task]
) -> dict[str, list[Outcome]] | None:
    """By task, what an artifact answered to these examples of `asked_of` in such an engine, on this machine and with
    these versions; None where that is not all known."""
    if asked is None:
        return None
    kept = OutcomeStore(home())
    found = {
        name: kept.find(
            asked.digest, name, Conditions.here(asked.engine, task.test_sha256), [each.id for each in examples[name]]
        )
        for name, task in asked_of.items()
    }
    known = {task: outcomes for task, outcomes in found.items() if outcomes is not None}
    return known if len(known) == len(found) else None


def newest_that_will_do(
    cards: Sequence[Card], wanted: Mapping[str, Required], engine: dict[str, Any], parent: EngineRef | None = None
) -> Card | None:
    """The last whole card that was measured here, in such an engine, with what is installed now, on at least the
    `wanted` examples a task, its speed on the first of them, and compared with the artifact `parent` in its own engine
    where one is given."""
    here, now = describe(), versions()
    for card in reversed(cards):
        # A task's own metric stands first.
        measured = {(found.task, found.test_sha256): found.n for found in reversed(card.accuracy)}
        enough = all(measured.get((task, split), 0) >= count for task, (count, split) in wanted.items())
        timed = bool(card.accuracy) and card.accuracy[0].task == next(iter(wanted))
        pair = (card.parent_digest, card.parent_engine) == (parent or (None, None))
        compared = pair and (parent is None or card.speedup is not None)
        measured_so = (card.schema_, card.hardware, card.versions, card.engine) == (2, here, now, engine)
        if enough and timed and compared and measured_so:
            return card
    return None


def card_of(
    manifest: Manifest,
    measured: Measured,
    engine: dict[str, Any],
    parent: EngineRef | None,
    theirs: Mapping[str, Sequence[Outcome]],
    asked_of: Mapping[str, Task],
) -> Card:
    """The card of what was measured on the tasks `asked_of`; `theirs` are the outcomes of `parent` on the same
    examples."""
    pairs = [(asked_of[name], measured.outcomes[name], theirs[name]) for name in theirs]
    agreed = [agreement(task, ours, other, parent.digest) for task, ours, other in pairs] if parent else []
    found = measured.saturation
    return Card(
        digest=manifest.digest,
        parent_digest=parent.digest if parent else None,
        hardware=describe(),
        precision=manifest.precision,
        executes=measured.executes,
        versions=versions(),
        accuracy=tuple(each for name, task in asked_of.items() for each in accuracy(task, measured.outcomes[name])),
        differences=tuple(
            each for task, ours, other in pairs if parent for each in differences(task, ours, other, parent.digest)
        ),
        agreement=tuple(each for each in agreed if each),
        distances=measured.distances,
        latency_s=measured.latency,
        saturated_latency_s=found.latency,
        speedup=measured.speedup,
        throughput_per_s=found.throughput_per_s,
        inference_per_s=measured.inference_per_s,
        cost_cpu_s=found.cost_cpu_s,
        load_s=measured.load_s,
        resident_bytes=measured.resident_bytes,
        peak_memory_bytes=measured.peak_memory_bytes,
        artifact_bytes=manifest.bytes,
        engine=engine,
        parent_engine=parent.engine if parent else None,
        measured_by=f"understudy evaluate: latency at 1 client, throughput at {CLIENTS}, through the serving engine",
        created=datetime.now(UTC),
    )


def describe_card(card: dict[str, Any]) -> str:
    def between(found: dict[str, Any]) -> str:
        return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"

    parts = [f"{found['task']} {found['metric']} {between(found)} n={found['n']}" for found in card["accuracy"]]
    parts += [f"{found['task']} {found['metric']} less its parent's {between(found)}" for found in card["differences"]]
    parts += [f"{found['metric']} distance {found['value']:.2f} n={found['n']}" for found in card["distances"]]
    parts += [f"{found['task']} same answers {between(found)}" for found in card["agreement"]]
    parts.append(f"{card['throughput_per_s']:.1f} requests/s")
    parts.append(f"{card['cost_cpu_s']:.1f} CPU-s for 1,000 requests")
    if card["inference_per_s"]:
        parts.append(f"{card['inference_per_s']:.0f} inferences/s")
    return f"{card['digest'][:8]}  {card['precision']}  {'  '.join(parts)}"
