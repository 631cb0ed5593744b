"""Turns a variant's card and its artifact into a card of `study.json`."""

from collections.abc import Iterable, Mapping

from serve.config.lineage import VariantRef, reference_of
from serve.config.stack import Stack
from serve.study.matrix import family_of, recipes_of
from serve.study.schema import Between, Measure, Other, StudyCard
from variants.artifacts.card import Accuracy, Agreement, Card, Difference
from variants.artifacts.store import Artifact
from variants.errors import InputError
from variants.recipes.family import kind_of_line, structured

FROM_CARD = (
    "precision", "latency_s", "saturated_latency_s", "speedup", "throughput_per_s", "inference_per_s", "executes",
    "parent_digest", "parent_engine", "versions",
)  # fmt: skip
"""The fields that a card of `study.json` copies from the variant's card."""


def entry_of(
    stack: Stack, ref: VariantRef, card: Card, artifacts: Mapping[VariantRef, Artifact], limit: int
) -> StudyCard:
    """The entry of one variant. `limit` is the most examples of a task that it was to be asked. Raises InputError if
    its card is incomplete."""
    manifest, recipes = artifacts[ref].manifest, [artifacts[each].manifest.recipe for each in recipes_of(stack, ref)]
    reference = reference_of(stack, ref)
    base = artifacts[reference].manifest.bytes if reference and manifest.format == "adapter" else 0
    tasks = stack.models[ref[0]].evaluate
    figures = [each for task in tasks for each in card.accuracy if each.task == task]
    if not (figures and card.latency_s and card.saturated_latency_s and card.throughput_per_s):
        raise InputError(f"the card of {ref[0]}@{ref[1]} is incomplete", mend="understudy evaluate --again")
    first, *others = figures
    return StudyCard(
        **dict(_compared(card, first)),
        **{name: getattr(card, name) for name in FROM_CARD},
        family=family_of(manifest.task),
        model=ref[0],
        variant=ref[1],
        kind=kind_of_line(recipes),
        structured=structured(recipes),
        artifact_bytes=manifest.bytes,
        peak_memory_bytes=card.peak_memory_bytes or 0,
        digest=manifest.digest,
        parent=reference[1] if reference else None,
        served_bytes=manifest.bytes + base,
        resident_bytes=card.resident_bytes or 0,
        cost_cpu_s=card.cost_cpu_s or 0.0,
        load_s=card.load_s or 0.0,
        engine=stack.models[ref[0]].variants[ref[1]].engine.kind,
        method=manifest.method,
        recipe=manifest.recipe.model_dump(mode="json", exclude_none=True),
        licences=tuple(sorted({source.licence for source in manifest.sources})),
        sources=tuple(source.uri for source in manifest.sources),
        note=manifest.note,
        measured=card.created,
        engine_settings=card.engine,
        others=tuple(_compared(card, each) for each in others),
        distances=tuple(each for each in card.distances if each.task in tasks),
        seed=manifest.seed,
        limit=limit,
        effort=manifest.effort,
    )


def _compared(card: Card, accuracy: Accuracy) -> Other:
    """One metric on one task, with its difference to the parent's and the agreement with it."""
    task, metric = accuracy.task, accuracy.metric
    return Other(
        task=task,
        unit=accuracy.unit,
        better=accuracy.better,
        accuracy=Measure(metric=metric, n=accuracy.n, value=accuracy.value, low=accuracy.low, high=accuracy.high),
        paired_difference=_between(each for each in card.differences if (each.task, each.metric) == (task, metric)),
        agreement=_between(each for each in card.agreement if each.task == task),
    )


def _between(figures: Iterable[Difference | Agreement]) -> Between | None:
    """The interval of the first figure; None without one."""
    return next((Between(value=each.value, low=each.low, high=each.high) for each in figures), None)
