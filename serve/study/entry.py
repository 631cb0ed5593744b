"""From a card and the artifact that it is of to a card of `study.json`."""

from collections.abc import Mapping

from serve.config.lineage import VariantRef, reference_of
from serve.config.stack import Stack
from serve.study.matrix import family_of, recipes_of
from serve.study.schema import Other, StudyCard, between, measure_of
from variants.artifacts.card import Accuracy, Card
from variants.artifacts.store import Artifact
from variants.errors import InputError
from variants.recipes.family import kind_of_line, structured


def entry_of(
    stack: Stack, ref: VariantRef, card: Card, artifacts: Mapping[VariantRef, Artifact], limit: int
) -> StudyCard:
    """The entry of one variant, which was to be asked at most `limit` examples of a task. InputError for a card that
    was not filled whole."""
    manifest, recipes = artifacts[ref].manifest, [artifacts[each].manifest.recipe for each in recipes_of(stack, ref)]
    reference = reference_of(stack, ref)
    base = artifacts[reference].manifest.bytes if reference and manifest.format == "adapter" else 0
    tasks = stack.models[ref[0]].evaluate
    figures = [each for task in tasks for each in card.accuracy if each.task == task]
    if not (figures and card.latency_s and card.saturated_latency_s and card.throughput_per_s):
        raise InputError(f"the card of {ref[0]}@{ref[1]} is not whole", mend="understudy evaluate --again")
    first, *others = figures
    found = _judged(card, first)
    return StudyCard(
        family=family_of(manifest.task),
        model=ref[0],
        variant=ref[1],
        kind=kind_of_line(recipes),
        structured=structured(recipes),
        precision=card.precision,
        artifact_bytes=manifest.bytes,
        accuracy=found.accuracy,
        paired_difference=found.paired_difference,
        latency_s=card.latency_s,
        throughput_per_s=card.throughput_per_s,
        peak_memory_bytes=card.peak_memory_bytes or 0,
        digest=manifest.digest,
        parent=reference[1] if reference else None,
        parent_digest=card.parent_digest,
        task=first.task,
        unit=first.unit,
        better=first.better,
        agreement=found.agreement,
        served_bytes=manifest.bytes + base,
        resident_bytes=card.resident_bytes or 0,
        saturated_latency_s=card.saturated_latency_s,
        speedup=card.speedup,
        inference_per_s=card.inference_per_s,
        cost_cpu_s=card.cost_cpu_s or 0.0,
        load_s=card.load_s or 0.0,
        engine=stack.models[ref[0]].variants[ref[1]].engine.kind,
        method=manifest.method,
        recipe=manifest.recipe.model_dump(mode="json", exclude_none=True),
        licences=tuple(sorted({source.licence for source in manifest.sources})),
        sources=tuple(source.uri for source in manifest.sources),
        note=manifest.note,
        versions=card.versions,
        measured=card.created,
        executes=card.executes,
        engine_settings=card.engine,
        parent_engine=card.parent_engine,
        others=tuple(_judged(card, each) for each in others),
        distances=tuple(each for each in card.distances if each.task in tasks),
        seed=manifest.seed,
        limit=limit,
        effort=manifest.effort,
    )


def _judged(card: Card, found: Accuracy) -> Other:
    """One metric on one task, beside the parent's."""
    difference = next(
        (each for each in card.differences if (each.task, each.metric) == (found.task, found.metric)), None
    )
    agreed = next((each for each in card.agreement if each.task == found.task), None)
    return Other(
        task=found.task,
        unit=found.unit,
        better=found.better,
        accuracy=measure_of(found),
        paired_difference=between(difference),
        agreement=between(agreed),
    )
