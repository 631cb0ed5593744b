"""Evaluates a stack's variants, each through the engine that will serve it, and files the cards in the catalog."""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import numpy as np

from serve.engines.adapters import load_adapter
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.judged import Seat, parents_first, reference_of
from serve.live import LiveVariant, live_variant
from serve.making import build_stack
from serve.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_request
from serve.predict import Drawings, answered, predictor
from serve.saturation import Saturated, Saturation, latency_of
from serve.stack import Stack
from variants import tasks
from variants.card import Card, Distance, Latency
from variants.catalog import Catalog
from variants.errors import InputError, UnknownName
from variants.evaluate import Predict, accuracy, evaluate
from variants.evidence.frechet import frechet_distance
from variants.home import home
from variants.machine import describe, versions
from variants.manifest import Manifest
from variants.outcomes import Outcome, Outcomes
from variants.pairing import agreement, differences
from variants.progress import Progress, for_stream
from variants.store import Artifact
from variants.tasks import Example, Task
from variants.tasks.digit_judge import Judge
from variants.tasks.mnist import Mnist

Artifacts = Mapping[Seat, Artifact]
Examples = Mapping[str, Sequence[Example]]
"""By task, what is asked; speed is measured on the first task."""

CLIENTS = 8
LATENCY_EXAMPLES = 100
WARM_UP_EXAMPLES = 16
BATCH = 8
BATCHES_A_ROUND = 20
INFERENCE_ROUNDS = 50
LEAST_ROUNDS, LEAST_LATENCIES = 5, 20
LATENCY_LIMIT_S, INFERENCE_LIMIT_S = 30.0, 20.0
TIMED_ALONE = ("image-classification", "feature-extraction")
"""Tasks whose engines give the time of the forward pass, and take the batch of noise or texts that it is timed on."""


def evaluate_stack(stack: Stack, names: Sequence[str], count: int | None, again: bool) -> list[Card]:
    """The cards of the named variants (`model` or `model@variant`; all where none is named), measured where none will
    do, or `again`. `count` limits the examples of each task. Raises UnknownName, InputError, EngineError."""
    seats = chosen(stack, names)
    artifacts, progress = build_stack(stack), for_stream()
    cards = {}
    for seat in parents_first(stack, seats):
        examples = {name: held_out(task_of(name, progress), count) for name in stack.models[seat[0]].evaluate}
        cards[seat] = evaluate_variant(stack, artifacts, seat, examples, again, progress)
    return [cards[seat] for seat in seats]


def evaluate_variant(
    stack: Stack, artifacts: Artifacts, seat: Seat, examples: Examples, again: bool, progress: Progress
) -> Card:
    """One variant's card, out of the catalog or measured and filed there. What it is compared with is evaluated first,
    where its outcomes on the same examples, here and now, are not kept."""
    name = seat[0]
    if not examples:
        mend = f"name some of {tasks.NAMES}"
        raise InputError("no task to evaluate on", field=f"models.{name}.evaluate", mend=mend)
    catalog, digest = Catalog(home()), artifacts[seat].manifest.digest
    reference = reference_of(stack, seat)
    parent = artifacts[reference].manifest.digest if reference else None
    if not again:
        wanted = {task: len(asked) for task, asked in examples.items()}
        known = catalog.model(name).cards.get(digest, ())
        if card := newest_that_will_do(known, wanted, parent):
            return card
    theirs = outcomes_of(parent, examples)
    if reference and theirs is None:
        evaluate_variant(stack, artifacts, reference, examples, True, progress)
        theirs = outcomes_of(parent, examples)
    live = live_variant(stack, artifacts, seat, weight=0.0)  # alone, whatever its share
    measured = asyncio.run(measure(live, examples, progress))
    kept, here, now = Outcomes(home()), describe(), versions()
    for task, outcomes in measured.outcomes.items():
        kept.keep(digest, task, here, now, outcomes)
    card = card_of(live.manifest, measured, parent, theirs or {}, progress)
    catalog.add_card(name, card)
    return card


def outcomes_of(digest: str | None, examples: Examples) -> dict[str, list[Outcome]] | None:
    """By task, what an artifact answered to these examples on this machine and with these versions; None where that is
    not all known."""
    if digest is None:
        return None
    kept, here, now = Outcomes(home()), describe(), versions()
    found = {task: kept.find(digest, task, here, now, [each.id for each in asked]) for task, asked in examples.items()}
    known = {task: outcomes for task, outcomes in found.items() if outcomes is not None}
    return known if len(known) == len(found) else None


def newest_that_will_do(cards: Sequence[Card], wanted: Mapping[str, int], parent: str | None = None) -> Card | None:
    """The last whole card that was measured here, with what is installed now, on at least the `wanted` examples a task,
    and compared with the artifact `parent` where one is given."""
    here, now = describe(), versions()
    for card in reversed(cards):
        measured = {found.task: found.n for found in card.accuracy}
        enough = all(measured.get(task, 0) >= count for task, count in wanted.items())
        if (
            enough
            and card.schema_ == 2
            and card.parent_digest == parent
            and card.hardware == here
            and card.versions == now
        ):
            return card
    return None


def task_of(name: str, progress: Progress) -> Task:
    return tasks.get(name, home(), progress)


def held_out(task: Task, count: int | None) -> list[Example]:
    """The first `count` examples of the test split, or all. Raises InputError where there are fewer."""
    try:
        return task.examples("test", count)
    except ValueError as error:
        raise InputError(str(error), field="--examples", mend="ask for fewer, or for all by leaving it out") from None


def chosen(stack: Stack, names: Sequence[str]) -> list[Seat]:
    """The (model, variant) pairs that `names` stand for. Raises UnknownName."""
    seats = [(model, variant) for model in stack.models for variant in stack.models[model].variants]
    if not names:
        return seats
    found = []
    for name in names:
        model, _, variant = name.partition("@")
        matching = [seat for seat in seats if seat == (model, variant) or (not variant and seat[0] == model)]
        if not matching:
            known = ", ".join(f"{model}@{variant}" for model, variant in seats)
            raise UnknownName(f"there is no {name!r} in the stack", field="names", mend=f"known are {known}")
        found += matching
    return found


@dataclass(frozen=True)
class Measured:
    """What one engine was seen to do. `inference_per_s` is None where the forward pass is not timed by itself."""

    outcomes: dict[str, list[Outcome]]
    latency: Latency
    saturation: Saturation
    inference_per_s: float | None
    load_s: float
    resident_bytes: int
    peak_memory_bytes: int
    distances: tuple[Distance, ...] = ()


async def measure(variant: LiveVariant, examples: Examples, progress: Progress) -> Measured:
    """Start the variant's engine alone, ask it everything, end it. Speed is measured on the first task."""
    manifest, engine = variant.manifest, variant.engine
    how = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name)
    process = EngineProcess(variant.name, how, home() / "logs" / f"{variant.name}-evaluate.log")
    inference = None
    distances: list[Distance] = []
    with progress.step(f"{variant.name}: evaluating"):
        try:
            began = time.perf_counter()
            url = await process.start()
            if variant.adapter:
                await load_adapter(url, variant.adapter)
            load_s = time.perf_counter() - began
            async with aiohttp.ClientSession() as session:
                found = [task_of(name, progress) for name in examples]
                predicts = [await predictor(session, url, variant.asked_as, task) for task in found]
                latency = await one_at_a_time(predicts[0], unasked(found[0], examples[found[0].name]))
                resident = process.memory_bytes()
                saturated = Saturated(predicts[0], process.cpu_s)
                outcomes: dict[str, list[Outcome]] = {}
                for task, predict in zip(found, predicts, strict=True):
                    first = not outcomes
                    asked = saturated if first else predict
                    outcomes[task.name] = await evaluate(task, examples[task.name], asked, CLIENTS, progress)
                    if first:
                        saturated.end()
                    process.memory_bytes()
                    if isinstance(predict, Drawings) and len(examples[task.name]) > 1:
                        pictures = [predict.pictures[each.id] for each in examples[task.name]]
                        distances.append(await asyncio.to_thread(distance, task, predict.judge, pictures, progress))
                if manifest.task == "image-generation":
                    drawn, nanoseconds = await computed(session, url, variant.asked_as)
                    inference = drawn / nanoseconds * 1e9
                elif manifest.task in TIMED_ALONE:
                    batch = batch_for(manifest, held_out(found[0], BATCH))
                    inference = await inference_rate(session, url, variant.asked_as, batch)
            process.memory_bytes()
        finally:
            await process.stop()
    return Measured(
        outcomes, latency, saturated.seen(), inference, load_s, resident, process.peak_memory_bytes, tuple(distances)
    )


def card_of(
    manifest: Manifest,
    measured: Measured,
    parent: str | None,
    theirs: Mapping[str, Sequence[Outcome]],
    progress: Progress,
) -> Card:
    """The card of what was measured; `theirs` are the outcomes of `parent` on the same examples."""
    tasks_asked = {name: task_of(name, progress) for name in measured.outcomes}
    pairs = [(tasks_asked[name], measured.outcomes[name], theirs[name]) for name in theirs]
    agreed = [agreement(task, ours, other, parent) for task, ours, other in pairs] if parent else []
    found = measured.saturation
    return Card(
        digest=manifest.digest,
        parent_digest=parent,
        hardware=describe(),
        precision=manifest.precision,
        versions=versions(),
        accuracy=tuple(each for name, task in tasks_asked.items() for each in accuracy(task, measured.outcomes[name])),
        differences=tuple(
            each for task, ours, other in pairs if parent for each in differences(task, ours, other, parent)
        ),
        agreement=tuple(each for each in agreed if each),
        distances=measured.distances,
        latency_s=measured.latency,
        saturated_latency_s=found.latency,
        throughput_per_s=found.throughput_per_s,
        inference_per_s=measured.inference_per_s,
        cost_cpu_s=found.cost_cpu_s,
        load_s=measured.load_s,
        resident_bytes=measured.resident_bytes,
        peak_memory_bytes=measured.peak_memory_bytes,
        artifact_bytes=manifest.bytes,
        measured_by=f"understudy evaluate: latency at 1 client, throughput at {CLIENTS}, through the serving engine",
        created=datetime.now(UTC),
    )


def unasked(task: Task, asked: Sequence[Example]) -> list[Example]:
    """Examples to time single requests on: not those that are asked again afterwards, where there are others, so that
    no engine has seen their prompts before."""
    wanted, ids = WARM_UP_EXAMPLES + LATENCY_EXAMPLES, {each.id for each in asked}
    others = [each for each in task.examples("test") if each.id not in ids][:wanted]
    with suppress(ValueError):  # a task need not have that split
        others += task.examples("calibration")[: wanted - len(others)]
    return [*others, *asked][:wanted]


def distance(task: Task, judge: Judge, pictures: Sequence[bytes], progress: Progress) -> Distance:
    """From what was drawn to the held-out real ones."""
    real = [each.input for each in Mnist(home(), progress).examples("test") if isinstance(each.input, bytes)]
    value = frechet_distance(judge.features(pictures), judge.features(real))
    return Distance(task=task.name, value=value, n=len(pictures), real=len(real))


def batch_for(manifest: Manifest, examples: Sequence[Example]) -> Tensor:
    """What the forward pass is timed on: noise of the model's size, or the first texts of the examples."""
    if manifest.preprocess is not None:
        pixels = np.random.default_rng(0).standard_normal((BATCH, 3, *manifest.preprocess.size), dtype=np.float32)
        return Tensor("pixels", "FP32", pixels)
    return bytes_tensor("text", [example.input[0].encode() for example in examples if isinstance(example.input, tuple)])


async def inference_rate(session: aiohttp.ClientSession, url: str, name: str, batch: Tensor) -> float:
    """Examples a second of the forward pass alone: the median of rounds, by the engine's own statistics."""
    body, length = encode_request([batch], binary=True, binary_output=True)
    headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
    rates = []
    began, before = time.perf_counter(), await computed(session, url, name)
    for _ in range(INFERENCE_ROUNDS):
        for _ in range(BATCHES_A_ROUND):
            await answered(session.post(f"{url}/v2/models/{name}/infer", data=body, headers=headers))
        after = await computed(session, url, name)
        rates.append((after[0] - before[0]) / (after[1] - before[1]) * 1e9)
        before = after
        if len(rates) >= LEAST_ROUNDS and time.perf_counter() - began > INFERENCE_LIMIT_S:
            break
    return statistics.median(rates)


async def computed(session: aiohttp.ClientSession, url: str, name: str) -> tuple[int, int]:
    """Examples computed so far, and the nanoseconds that it took."""
    body, _ = await answered(session.get(f"{url}/v2/models/{name}/stats"))
    found = json.loads(body)["model_stats"][0]
    return found["inference_count"], found["inference_stats"]["compute_infer"]["ns"]


async def one_at_a_time(predict: Predict, examples: Sequence[Example]) -> Latency:
    """Latency of single requests in seconds, after a warm-up that is not counted; fewer of them where they are slow."""
    began = time.perf_counter()
    for example in examples[:WARM_UP_EXAMPLES]:
        await predict(example)
        if time.perf_counter() - began > LATENCY_LIMIT_S / 4:
            break
    seconds: list[float] = []
    for example in examples[WARM_UP_EXAMPLES:] or examples:
        if len(seconds) >= LEAST_LATENCIES and time.perf_counter() - began > LATENCY_LIMIT_S:
            break
        asked = time.perf_counter()
        await predict(example)
        seconds.append(time.perf_counter() - asked)
    return latency_of(seconds)
