"""Evaluates a stack's variants, each through the engine that will serve it, and files the cards in the catalog."""

import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import aiohttp
import numpy as np

from serve.engines.adapters import load_adapter
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.live import LiveVariant, live_of
from serve.making import build_stack
from serve.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_request
from serve.predict import Drawings, answered, predictor
from serve.stack import Stack
from variants import tasks
from variants.card import Accuracy, Card, Distance, Latency
from variants.catalog import Catalog
from variants.errors import InputError, UnknownName
from variants.evaluate import Predict, accuracy, evaluate
from variants.evidence.frechet import frechet_distance
from variants.home import home
from variants.machine import describe, versions
from variants.manifest import Manifest
from variants.progress import Progress, for_stream
from variants.tasks import Example, Task
from variants.tasks.digit_judge import Judge
from variants.tasks.mnist import Mnist

CLIENTS = 8
LATENCY_EXAMPLES = 100
WARM_UP_EXAMPLES = 16
BATCH = 8
BATCHES_A_ROUND = 20
INFERENCE_ROUNDS = 50


def evaluate_stack(stack: Stack, names: Sequence[str], count: int | None, again: bool) -> list[Card]:
    """The cards of the named variants (`model` or `model@variant`; all where none is named), measured where none will
    do, or `again`. `count` limits the examples of each task. Raises UnknownName, InputError, EngineError."""
    seats = chosen(stack, names)
    artifacts = build_stack(stack)
    live = live_of(stack, artifacts)
    catalog, progress = Catalog(home()), for_stream()
    cards = []
    for seat in seats:
        artifact = artifacts[seat]
        known = catalog.model(seat[0]).cards.get(artifact.manifest.digest, ())
        wanted = {name: len(held_out(task_of(name, progress), count)) for name in stack.models[seat[0]].evaluate}
        card = None if again else newest_that_will_do(known, wanted)
        if card is None:
            card = asyncio.run(measure(live.variants[seat], stack.models[seat[0]].evaluate, count, progress))
            catalog.add_card(seat[0], card)
        cards.append(card)
    return cards


def newest_that_will_do(cards: Sequence[Card], wanted: Mapping[str, int]) -> Card | None:
    """The last card that was measured here, with what is installed now, on at least the `wanted` examples a task."""
    here, now = describe(), versions()
    for card in reversed(cards):
        measured = {found.task: found.n for found in card.accuracy}
        enough = all(measured.get(task, 0) >= count for task, count in wanted.items())
        if enough and card.hardware == here and card.versions == now:
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


def chosen(stack: Stack, names: Sequence[str]) -> list[tuple[str, str]]:
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


async def measure(variant: LiveVariant, evaluate: Sequence[str], count: int | None, progress: Progress) -> Card:
    """Start the variant's engine alone, ask it everything, end it."""
    manifest, engine = variant.manifest, variant.engine
    if not evaluate:
        mend = f"name some of {tasks.NAMES}"
        raise InputError("no task to evaluate on", field=f"models.{variant.model}.evaluate", mend=mend)
    how = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name)
    process = EngineProcess(variant.name, how, home() / "logs" / f"{variant.name}-evaluate.log")
    inference = None
    distances: list[Distance] = []
    with progress.step(f"{variant.name}: evaluating"):
        try:
            url = await process.start()
            if variant.adapter:
                await load_adapter(url, variant.adapter)
            async with aiohttp.ClientSession() as session:
                accuracies, latency, rate = await ask(
                    session, url, variant.asked_as, evaluate, count, progress, distances
                )
                if manifest.task == "image-generation":
                    pictures, nanoseconds = await computed(session, url, variant.asked_as)
                    inference = pictures / nanoseconds * 1e9
                elif manifest.task != "text-generation":
                    batch = batch_for(manifest, held_out(task_of(evaluate[0], progress), BATCH))
                    inference = await inference_rate(session, url, variant.asked_as, batch)
            process.memory_bytes()
        finally:
            await process.stop()
    return Card(
        digest=manifest.digest,
        hardware=describe(),
        precision=manifest.precision,
        versions=versions(),
        accuracy=tuple(accuracies),
        distances=tuple(distances),
        latency_s=latency,
        throughput_per_s=rate,
        inference_per_s=inference,
        peak_memory_bytes=process.peak_memory_bytes,
        artifact_bytes=manifest.bytes,
        measured_by=f"understudy evaluate: latency at 1 client, throughput at {CLIENTS}, through the serving engine",
        created=datetime.now(UTC),
    )


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    name: str,
    task_names: Sequence[str],
    count: int | None,
    progress: Progress,
    distances: list[Distance],
) -> tuple[list[Accuracy], Latency, float]:
    """Accuracy on every task; latency and throughput (requests a second) on the first. What was drawn goes into
    `distances`."""
    accuracies = []
    speed: tuple[Latency, float] | None = None
    for task_name in task_names:
        task = task_of(task_name, progress)
        examples = held_out(task, count)
        predict = await predictor(session, url, name, task)
        if speed is None:
            latency = await one_at_a_time(predict, examples)
            began = time.perf_counter()
            outcomes = await evaluate(task, examples, predict, CLIENTS, progress)
            speed = latency, len(examples) / (time.perf_counter() - began)
        else:
            outcomes = await evaluate(task, examples, predict, CLIENTS, progress)
        accuracies.append(accuracy(task, outcomes))
        if isinstance(predict, Drawings) and len(examples) > 1:
            pictures = [predict.pictures[example.id] for example in examples]
            distances.append(await asyncio.to_thread(distance, task, predict.judge, pictures, progress))
    assert speed is not None
    return accuracies, *speed


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
    before = await computed(session, url, name)
    for _ in range(INFERENCE_ROUNDS):
        for _ in range(BATCHES_A_ROUND):
            await answered(session.post(f"{url}/v2/models/{name}/infer", data=body, headers=headers))
        after = await computed(session, url, name)
        rates.append((after[0] - before[0]) / (after[1] - before[1]) * 1e9)
        before = after
    return statistics.median(rates)


async def computed(session: aiohttp.ClientSession, url: str, name: str) -> tuple[int, int]:
    """Examples computed so far, and the nanoseconds that it took."""
    body, _ = await answered(session.get(f"{url}/v2/models/{name}/stats"))
    found = json.loads(body)["model_stats"][0]
    return found["inference_count"], found["inference_stats"]["compute_infer"]["ns"]


async def one_at_a_time(predict: Predict, examples: Sequence[Example]) -> Latency:
    """Latency of single requests in seconds, after a warm-up that is not counted."""
    for example in examples[:WARM_UP_EXAMPLES]:
        await predict(example)
    seconds = []
    for example in examples[:LATENCY_EXAMPLES]:
        began = time.perf_counter()
        await predict(example)
        seconds.append(time.perf_counter() - began)
    cuts = statistics.quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
    return Latency(p50=statistics.median(seconds), p95=cuts[18])
