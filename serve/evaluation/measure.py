"""Measures one variant's engine: its answers, speed, cost and memory alone, then its speed-up beside its reference."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import aiohttp

from serve.config.placement import check_resources, place
from serve.config.snapshot import ServedVariant
from serve.engines.adapter_client import load_adapter
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.evaluation.engine_client import EngineClient
from serve.evaluation.forward_pass import TASKS, TEXTS, ForwardPass, batch_for, computed
from serve.evaluation.predictors import Drawings, predictor
from serve.evaluation.speedup import passes_in_turns, side_by_side
from serve.evaluation.throughput import Saturated, Saturation, latency_of
from variants.artifacts.card import Distance, Latency, Speedup
from variants.artifacts.manifest import Manifest
from variants.errors import InputError
from variants.evaluation.evaluate import Predict, evaluate
from variants.evidence.frechet import frechet_distance
from variants.home import home
from variants.machine import gpus
from variants.metrics.outcome import Outcome
from variants.progress import Progress
from variants.tasks import Example, Task
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.tasks.harness.harness_task import HarnessTask
from variants.tasks.harness.samples import Engine, samples_of
from variants.tasks.mnist import Mnist

Examples = Mapping[str, Sequence[Example]]
"""The examples to ask, by task. Speed is measured on the first task."""

CLIENTS = 8
LATENCY_EXAMPLES = 100
WARM_UP_EXAMPLES = 16
LEAST_LATENCIES = 20
MOST_UNASKED = 1000
HARNESS_EXAMPLES = 200
"""Prompts of a task of lm-evaluation-harness that throughput is measured on."""
LATENCY_LIMIT_S = 30.0


def held_out(task: Task, count: int | None) -> list[Example]:
    """The first `count` examples of the test split, or all of it. Raises InputError where it holds fewer."""
    try:
        return task.examples("test", count)
    except ValueError as error:
        raise InputError(str(error), field="--examples", mend="ask for fewer, or for all by leaving it out") from None


@dataclass(frozen=True)
class Measured:
    """The figures of one engine. `inference_per_s` is None where the forward pass is not timed by itself, `executes`
    where the engine does not report its precision."""

    outcomes: dict[str, list[Outcome]]
    latency: Latency
    saturation: Saturation
    speedup: Speedup | None
    inference_per_s: float | None
    load_s: float
    resident_bytes: int
    peak_memory_bytes: int
    peak_gpu_bytes: int | None = None
    distances: tuple[Distance, ...] = ()
    executes: str | None = None


@asynccontextmanager
async def running(
    variant: ServedVariant,
    why: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    gpu_ids: Sequence[str] = (),
) -> AsyncIterator[tuple[EngineProcess, float]]:
    """The variant's engine with its adapter loaded, and the seconds that this took. The engine ends with the context.

    `environment` is added to the engine's own, and it sees the GPUs `gpu_ids`. Raises EngineError where the engine does
    not start.
    """
    engine = variant.engine
    command = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name, gpu_ids)
    command = replace(command, environment={**command.environment, **environment})
    process = EngineProcess(variant.name, command, home() / "logs" / f"{variant.name}-{why}.log")
    try:
        began = time.perf_counter()
        await process.start()
        if variant.adapter:
            await load_adapter(process.url, variant.adapter, process.headers)
        yield process, time.perf_counter() - began
    finally:
        await process.stop()


async def measure(
    variant: ServedVariant,
    reference: ServedVariant | None,
    tasks: Sequence[Task],
    examples: Examples,
    progress: Progress,
) -> Measured:
    """Start the variant's engine alone and ask it everything. Then start its reference's beside it, if there is one."""
    gpu_ids = gpu_ids_of([each for each in (variant, reference) if each])  # refuses both before either starts
    speedup = None
    with progress.step(f"{variant.name}: evaluating"):
        async with (
            running(variant, "evaluate", gpu_ids=gpu_ids[0]) as (process, load_s),
            aiohttp.ClientSession() as session,
        ):
            engine = EngineClient(session, process.url, variant.asked_as, process.headers)
            task = tasks[0]
            precision = await executes(engine)
            predicts = [await predictor(engine, each) for each in tasks]
            fresh = unasked(task, examples[task.name])
            latency = await one_at_a_time(predicts[0], fresh[: WARM_UP_EXAMPLES + LATENCY_EXAMPLES])
            resident = process.memory_bytes()
            saturated = Saturated(predicts[0], process.cpu_s)
            first = await evaluate(task, timed_of(task, examples[task.name]), saturated, CLIENTS, progress)
            saturation = saturated.end()
            outcomes, distances = {task.name: first}, []
            for each, predict in zip(tasks, predicts, strict=True):
                if isinstance(each, HarnessTask):
                    outcomes[each.name] = await ask_harness(variant, each, examples[each.name], engine, progress)
                elif each is not task:
                    outcomes[each.name] = await evaluate(each, examples[each.name], predict, CLIENTS, progress)
                if isinstance(predict, Drawings) and len(examples[each.name]) > 1:
                    distances.append(await distance_of(each, predict, examples[each.name], progress))
                process.memory_bytes()
            forward, inference = await timed_pass(variant.manifest, engine, task)
            process.memory_bytes()
            if reference is not None:
                async with running(reference, "beside", gpu_ids=gpu_ids[1]) as (other_process, _):
                    other = EngineClient(session, other_process.url, reference.asked_as, other_process.headers)
                    theirs = await predictor(other, task)
                    rate = saturation.throughput_per_s
                    pool = fresh[WARM_UP_EXAMPLES + LATENCY_EXAMPLES :] or fresh
                    speedup = await side_by_side(predicts[0], theirs, pool, latency.p50, rate, CLIENTS, progress)
                    if forward is not None and inference is not None:
                        ratio = await passes_in_turns(forward, replace(forward, engine=other), inference)
                        speedup = speedup.model_copy(update={"inference": ratio})
    return Measured(
        outcomes=outcomes,
        latency=latency,
        saturation=saturation,
        speedup=speedup,
        inference_per_s=inference,
        load_s=load_s,
        resident_bytes=resident,
        peak_memory_bytes=process.peak_memory_bytes,
        peak_gpu_bytes=process.peak_gpu_bytes,
        distances=tuple(distances),
        executes=precision,
    )


async def timed_pass(manifest: Manifest, engine: EngineClient, task: Task) -> tuple[ForwardPass | None, float | None]:
    """The forward pass that is timed by itself, and its examples a second. None where there is none."""
    if manifest.task == "image-generation":
        drawn, nanoseconds = await computed(engine)
        return None, drawn / nanoseconds * 1e9
    if manifest.task not in TASKS:
        return None, None
    forward = ForwardPass(engine, batch_for(manifest, task.examples("test")[:TEXTS]))
    return forward, await forward.median_rate()


def gpu_ids_of(variants: Sequence[ServedVariant]) -> list[tuple[str, ...]]:
    """The GPUs for engines that run at the same time. Raises StackError where they have no room."""
    here = gpus()
    check_resources([variant.engine for variant in variants], here)
    placed = place([variant.engine.settings.resources.gpus for variant in variants], len(here))
    assert placed is not None  # `check_resources` has seen it
    return [tuple(map(str, chosen)) for chosen in placed]


def timed_of(task: Task, examples: Sequence[Example]) -> Sequence[Example]:
    """The examples that throughput is measured on: all that are asked, as far as these requests also score them."""
    return examples[:HARNESS_EXAMPLES] if isinstance(task, HarnessTask) else examples


async def ask_harness(
    variant: ServedVariant, task: HarnessTask, examples: Sequence[Example], engine: EngineClient, progress: Progress
) -> list[Outcome]:
    """The outcomes by lm-evaluation-harness, which asks the variant's engine itself. Raises EngineError."""
    models = json.loads(await engine.get("/v1/models"))["data"]
    context = min(model["max_model_len"] for model in models if model.get("max_model_len"))
    tokenizer = variant.engine.artifact.model_path
    asked = Engine(engine.url, engine.model, tokenizer, context, engine.headers)
    with progress.step(f"lm_eval: {task.spec}"):
        return await samples_of(task, examples, asked, harness_log(variant.name, task.spec))


def harness_log(variant: str, spec: str) -> Path:
    """The log of one task of lm-evaluation-harness: each has its own. Of a long path the end is taken."""
    return home() / "logs" / f"{variant}-lm_eval-{quote(spec, safe='')[-150:]}.log"


async def executes(engine: EngineClient) -> str | None:
    """The precision that an engine computes in. None where it has no v2 metadata, like vLLM."""
    url = f"{engine.url}/v2/models/{engine.model}"
    async with engine.session.get(url, headers=engine.headers) as answer:
        return str((await answer.json())["parameters"]["executes"]) if answer.status == HTTPStatus.OK else None


def unasked(task: Task, asked: Sequence[Example]) -> list[Example]:
    """Examples to measure speed on. Where there are enough others, they are not those of `asked`, which are asked
    afterwards: an engine may cache the prompts that it has seen."""
    ids = {each.id for each in asked}
    others = [each for each in task.examples("test") if each.id not in ids][:MOST_UNASKED]
    with suppress(ValueError):  # a task may lack that split
        others += task.examples("calibration")[: MOST_UNASKED - len(others)]
    return others if len(others) >= WARM_UP_EXAMPLES + LATENCY_EXAMPLES else [*others, *asked][:MOST_UNASKED]


async def distance_of(task: Task, drawings: Drawings, examples: Sequence[Example], progress: Progress) -> Distance:
    pictures = [drawings.pictures[example.id] for example in examples]
    return await asyncio.to_thread(distance, task, drawings.classifier, pictures, progress)


def distance(task: Task, classifier: DigitClassifier, pictures: Sequence[bytes], progress: Progress) -> Distance:
    """The Frechet distance of the drawn digits from MNIST's test split, by the classifier's features."""
    real = [each.input for each in Mnist(home(), progress).examples("test") if isinstance(each.input, bytes)]
    value = frechet_distance(classifier.features(pictures), classifier.features(real))
    return Distance(task=task.name, value=value, n=len(pictures), real=len(real))


async def one_at_a_time(predict: Predict, examples: Sequence[Example]) -> Latency:
    """Latency of single requests in seconds, without a warm-up. Slow engines are asked fewer examples."""
    began = time.perf_counter()
    for example in examples[:WARM_UP_EXAMPLES]:
        await predict(example)
        if time.perf_counter() - began > LATENCY_LIMIT_S / 4:
            break
    seconds: list[float] = []
    for example in examples[WARM_UP_EXAMPLES:] or examples:
        if len(seconds) >= LEAST_LATENCIES and time.perf_counter() - began > LATENCY_LIMIT_S:
            break
        sent = time.perf_counter()
        await predict(example)
        seconds.append(time.perf_counter() - sent)
    return latency_of(seconds)
