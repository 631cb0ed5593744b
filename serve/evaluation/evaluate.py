"""Evaluates a stack's variants, each through the engine that will serve it, and adds the cards to the catalog."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from serve.config.artifacts import build_stack
from serve.config.lineage import VariantRef, line_of, parents_first, reference_of, select_variants
from serve.config.snapshot import served_variant
from serve.config.stack import Stack
from serve.evaluation.measure import CLIENTS, Examples, Measured, held_out, measure
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
from variants.tasks.harness.harness_task import HarnessTask

Artifacts = Mapping[VariantRef, Artifact]
OWN_LABELS = ("article", "image", "ranked", "boxes")
"""Kinds of tasks whose answers are always labels of the model's manifest."""


class Required(NamedTuple):
    """What a card must have of a task: a number of examples, and the test split that they are of."""

    n: int
    test_sha256: str


class EngineRef(NamedTuple):
    """An artifact's digest, and the settings of its engine as the stack file has them."""

    digest: str
    engine: dict[str, Any]


def evaluate_stack(
    stack: Stack, names: Sequence[str] = (), count: int | None = None, again: bool = False
) -> list[Card]:
    """The cards of the named variants, `model` or `model@variant`; all variants where none is named.

    A variant without a valid card is measured, with `again` every variant. `count` limits the examples of each task.
    Raises UnknownName, InputError, EngineError, and MissingDependency where a task needs what is not installed.
    """
    refs = select_variants(stack, names)
    check_harness_tasks(stack, {ref[0] for ref in refs})
    artifacts, progress = build_stack(stack, {each for ref in refs for each in line_of(stack, ref)}), for_stream()
    cards = {}
    for ref in parents_first(stack, refs):
        own = {name: stack.all_tasks.get(name, home(), progress) for name in stack.models[ref[0]].evaluate}
        examples = {name: held_out(task, count) for name, task in own.items()}
        cards[ref] = evaluate_variant(stack, artifacts, ref, examples, again, progress)
    return [cards[ref] for ref in refs]


def evaluate_variant(
    stack: Stack, artifacts: Artifacts, ref: VariantRef, examples: Examples, again: bool, progress: Progress
) -> Card:
    """One variant's card, from the catalog, or measured and added to it. Raises InputError, EngineError.

    The variant that it is compared with is measured first, unless its outcomes under the same conditions are stored.
    """
    name = ref[0]
    if not examples:
        mend = f"name some of {', '.join(stack.all_tasks.names)}"
        raise InputError("no task to evaluate on", field=f"models.{name}.evaluate", mend=mend)
    task_by_name = {task: stack.all_tasks.get(task, home(), progress) for task in examples}
    check_labels(artifacts[ref].manifest, task_by_name.values())
    catalog, ours = Catalog(home()), engine_ref(stack, artifacts, ref)
    reference = reference_of(stack, ref)
    parent = engine_ref(stack, artifacts, reference) if reference else None
    if not again:
        wanted = {task: Required(len(chosen), task_by_name[task].test_sha256) for task, chosen in examples.items()}
        known = catalog.model(name).cards.get(ours.digest, ())
        if card := newest_valid_card(known, wanted, ours.engine, parent):
            return card
    theirs = stored_outcomes(parent, examples, task_by_name)
    if reference and theirs is None:
        evaluate_variant(stack, artifacts, reference, examples, True, progress)
        theirs = stored_outcomes(parent, examples, task_by_name)
    variant = served_variant(stack, artifacts, ref, weight=0.0)  # its share of the traffic has no effect here
    beside = served_variant(stack, artifacts, reference, weight=0.0) if reference else None
    measured = asyncio.run(measure(variant, beside, list(task_by_name.values()), examples, progress))
    store = OutcomeStore(home())
    for task, outcomes in measured.outcomes.items():
        store.keep(ours.digest, task, Conditions.here(ours.engine, task_by_name[task].test_sha256), outcomes)
    try:
        card = card_of(variant.manifest, measured, ours.engine, parent, theirs or {}, task_by_name)
    except ValueError as error:  # a figure that cannot be computed from so few examples, or from such answers
        raise InputError(f"{variant.name}: {error}", field=f"models.{name}.evaluate") from error
    catalog.add_card(name, card)
    return card


def check_harness_tasks(stack: Stack, models: Iterable[str]) -> None:
    """Have lm-evaluation-harness load its tasks among those of the models, before anything is built. Raises InputError
    for one that cannot be used, MissingDependency where lm_eval is not installed."""
    for name in sorted({name for model in models for name in stack.models[model].evaluate}):
        task = stack.all_tasks.get(name, home())
        if isinstance(task, HarnessTask):
            _ = task.definition


def check_labels(manifest: Manifest, tasks: Iterable[Task]) -> None:
    """Raises InputError where a task has labels that the model never answers: it would always be wrong there."""
    ours = manifest.labels
    for task in tasks:
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


def engine_ref(stack: Stack, artifacts: Artifacts, ref: VariantRef) -> EngineRef:
    return EngineRef(artifacts[ref].manifest.digest, settings_of(stack, ref))


def stored_outcomes(
    parent: EngineRef | None, examples: Examples, task_by_name: Mapping[str, Task]
) -> dict[str, list[Outcome]] | None:
    """The parent's outcomes on these examples, by task, if they have the same engine, machine, versions and test split.
    None where there is no parent, or where any outcome is missing."""
    if parent is None:
        return None
    store, stored = OutcomeStore(home()), {}
    for name, task in task_by_name.items():
        conditions = Conditions.here(parent.engine, task.test_sha256)
        outcomes = store.find(parent.digest, name, conditions, [example.id for example in examples[name]])
        if outcomes is None:
            return None
        stored[name] = outcomes
    return stored


def newest_valid_card(
    cards: Sequence[Card], wanted: Mapping[str, Required], engine: dict[str, Any], parent: EngineRef | None = None
) -> Card | None:
    """The last card that was measured on this machine, with the installed versions, in such an engine.

    It has at least the `wanted` examples of each task, and its speed was measured on the first task. It is compared
    with `parent` where one is given, else with nothing.
    """
    here, now = describe(), versions()
    for card in reversed(cards):
        # The figure that a task is judged by is its first one.
        counts = {(figure.task, figure.test_sha256): figure.n for figure in reversed(card.accuracy)}
        enough = all(counts.get((task, split), 0) >= count for task, (count, split) in wanted.items())
        timed = bool(card.accuracy) and card.accuracy[0].task == next(iter(wanted))
        same_parent = (card.parent_digest, card.parent_engine) == (parent or (None, None))
        compared = same_parent and (parent is None or card.speedup is not None)
        same_conditions = (card.schema_, card.hardware, card.versions, card.engine) == (2, here, now, engine)
        if enough and timed and compared and same_conditions:
            return card
    return None


def card_of(
    manifest: Manifest,
    measured: Measured,
    engine: dict[str, Any],
    parent: EngineRef | None,
    theirs: Mapping[str, Sequence[Outcome]],
    task_by_name: Mapping[str, Task],
) -> Card:
    """The card of what was measured. `theirs` are the outcomes of `parent` on the same examples."""
    pairs = [(task_by_name[name], measured.outcomes[name], theirs[name]) for name in theirs]
    agreed = [agreement(task, ours, other, parent.digest) for task, ours, other in pairs] if parent else []
    return Card(
        digest=manifest.digest,
        parent_digest=parent.digest if parent else None,
        hardware=describe(),
        precision=manifest.precision,
        executes=measured.executes,
        versions=versions(),
        accuracy=tuple(each for name, task in task_by_name.items() for each in accuracy(task, measured.outcomes[name])),
        differences=tuple(
            each for task, ours, other in pairs if parent for each in differences(task, ours, other, parent.digest)
        ),
        agreement=tuple(each for each in agreed if each),
        distances=measured.distances,
        latency_s=measured.latency,
        saturated_latency_s=measured.saturation.latency,
        speedup=measured.speedup,
        throughput_per_s=measured.saturation.throughput_per_s,
        inference_per_s=measured.inference_per_s,
        cost_cpu_s=measured.saturation.cost_cpu_s,
        load_s=measured.load_s,
        resident_bytes=measured.resident_bytes,
        peak_memory_bytes=measured.peak_memory_bytes,
        peak_gpu_bytes=measured.peak_gpu_bytes,
        cost_gpu_s=cost_gpu_s(engine, measured.saturation.throughput_per_s),
        artifact_bytes=manifest.bytes,
        engine=engine,
        parent_engine=parent.engine if parent else None,
        measured_by=f"understudy evaluate: latency at 1 client, throughput at {CLIENTS}, through the serving engine",
        created=datetime.now(UTC),
    )


def cost_gpu_s(engine: dict[str, Any], throughput_per_s: float) -> float | None:
    """GPU-seconds that are reserved for 1,000 requests, by the engine's share; None on a CPU."""
    share = engine.get("resources", {}).get("gpus", 0)
    return 1000 * float(share) / throughput_per_s if share else None


def describe_card(card: dict[str, Any]) -> str:
    """One line of a card's figures. `card` is the card as JSON has it."""

    def interval(figure: dict[str, Any]) -> str:
        return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"

    parts = [f"{each['task']} {each['metric']} {interval(each)} n={each['n']}" for each in card["accuracy"]]
    parts += [f"{each['task']} {each['metric']} less its parent's {interval(each)}" for each in card["differences"]]
    parts += [f"{each['metric']} distance {each['value']:.2f} n={each['n']}" for each in card["distances"]]
    parts += [f"{each['task']} same answers {interval(each)}" for each in card["agreement"]]
    parts.append(f"{card['throughput_per_s']:.1f} requests/s")
    parts.append(f"{card['cost_cpu_s']:.1f} CPU-s for 1,000 requests")
    if card.get("cost_gpu_s"):
        parts.append(f"{card['cost_gpu_s']:.1f} GPU-s for 1,000 requests")
    if card["inference_per_s"]:
        parts.append(f"{card['inference_per_s']:.0f} inferences/s")
    return f"{card['digest'][:8]}  {card['precision']}  {'  '.join(parts)}"
