"""What one engine does: started alone, asked everything, timed; then beside its reference."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType

import aiohttp

from serve.config.snapshot import ServedVariant
from serve.engines.adapter_client import load_adapter
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.evaluation.forward_pass import TASKS, TEXTS, ForwardPass, batch_for, computed
from serve.evaluation.predictors import Drawings, predictor
from serve.evaluation.speedup import passes_in_turns, side_by_side
from serve.evaluation.throughput import Saturated, Saturation, latency_of
from variants import tasks
from variants.artifacts.card import Distance, Latency, Speedup
from variants.errors import InputError
from variants.evaluation.evaluate import Predict, evaluate
from variants.evidence.frechet import frechet_distance
from variants.home import home
from variants.metrics.outcome import Outcome
from variants.progress import Progress
from variants.tasks import Example, Task
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.tasks.mnist import Mnist

Examples = Mapping[str, Sequence[Example]]
"""By task, what is asked; speed is measured on the first task."""

CLIENTS = 8
LATENCY_EXAMPLES = 100
WARM_UP_EXAMPLES = 16
LEAST_LATENCIES = 20
MOST_UNASKED = 1000
LATENCY_LIMIT_S = 30.0


def task_of(name: str, progress: Progress) -> Task:
    return tasks.get(name, home(), progress)


def held_out(task: Task, count: int | None) -> list[Example]:
    """The first `count` examples of the test split, or all. Raises InputError where there are fewer."""
    try:
        return task.examples("test", count)
    except ValueError as error:
        raise InputError(str(error), field="--examples", mend="ask for fewer, or for all by leaving it out") from None


@dataclass(frozen=True)
class Measured:
    """What one engine was seen to do. `inference_per_s` is None where the forward pass is not timed by itself,
    `executes` where the engine does not say."""

    outcomes: dict[str, list[Outcome]]
    latency: Latency
    saturation: Saturation
    speedup: Speedup | None
    inference_per_s: float | None
    load_s: float
    resident_bytes: int
    peak_memory_bytes: int
    distances: tuple[Distance, ...] = ()
    executes: str | None = None


@asynccontextmanager
async def running(
    variant: ServedVariant, why: str, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[tuple[EngineProcess, float]]:
    """The variant's engine, its adapter loaded, and how many seconds that took; ended on leaving. `environment` is
    added to its own. EngineError where it does not start."""
    engine = variant.engine
    how = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name)
    how = replace(how, environment={**how.environment, **environment})
    process = EngineProcess(variant.name, how, home() / "logs" / f"{variant.name}-{why}.log")
    try:
        began = time.perf_counter()
        await process.start()
        if variant.adapter:
            await load_adapter(process.url, variant.adapter)
        yield process, time.perf_counter() - began
    finally:
        await process.stop()


async def measure(
    variant: ServedVariant, reference: ServedVariant | None, examples: Examples, progress: Progress
) -> Measured:
    """Start the variant's engine alone, ask it everything; then its reference's beside it, where there is one. Speed is
    measured on the first task."""
    manifest, inference, speedup = variant.manifest, None, None
    forward: ForwardPass | None = None
    distances: list[Distance] = []
    with progress.step(f"{variant.name}: evaluating"):
        async with running(variant, "evaluate") as (process, load_s), aiohttp.ClientSession() as session:
            url, found = process.url, [task_of(name, progress) for name in examples]
            really = await executes(session, url, variant.asked_as)
            predicts = [await predictor(session, url, variant.asked_as, task) for task in found]
            fresh = unasked(found[0], examples[found[0].name])
            latency = await one_at_a_time(predicts[0], fresh[: WARM_UP_EXAMPLES + LATENCY_EXAMPLES])
            resident = process.memory_bytes()
            saturated = Saturated(predicts[0], process.cpu_s)
            outcomes: dict[str, list[Outcome]] = {}
            for task, predict in zip(found, predicts, strict=True):
                first = not outcomes
                asked = saturated if first else predict
                outcomes[task.name] = await evaluate(task, examples[task.name], asked, CLIENTS, progress)
                if first:
                    saturated.end()
                if isinstance(predict, Drawings) and len(examples[task.name]) > 1:
                    pictures = [predict.pictures[each.id] for each in examples[task.name]]
                    distances.append(await asyncio.to_thread(distance, task, predict.classifier, pictures, progress))
                process.memory_bytes()
            if manifest.task == "image-generation":
                drawn, nanoseconds = await computed(session, url, variant.asked_as)
                inference = drawn / nanoseconds * 1e9
            elif manifest.task in TASKS:
                batch = batch_for(manifest, held_out(found[0], TEXTS))
                forward = ForwardPass(session, url, variant.asked_as, batch)
                inference = await forward.median_rate()
            process.memory_bytes()
            if reference is not None:
                async with running(reference, "beside") as (other, _):
                    theirs = await predictor(session, other.url, reference.asked_as, found[0])
                    rate = saturated.seen().throughput_per_s
                    pool = fresh[WARM_UP_EXAMPLES + LATENCY_EXAMPLES :] or fresh
                    speedup = await side_by_side(predicts[0], theirs, pool, latency.p50, rate, CLIENTS, progress)
                    if forward is not None and inference is not None:
                        parent = replace(forward, url=other.url, name=reference.asked_as)
                        ratio = await passes_in_turns(forward, parent, inference)
                        speedup = speedup.model_copy(update={"inference": ratio})
    peak = process.peak_memory_bytes
    seen = saturated.seen()
    return Measured(outcomes, latency, seen, speedup, inference, load_s, resident, peak, tuple(distances), really)


async def executes(session: aiohttp.ClientSession, url: str, name: str) -> str | None:
    """The precision that an engine says it computes in; None where it has no v2 metadata, as vLLM."""
    async with session.get(f"{url}/v2/models/{name}") as answer:
        found = (await answer.json())["parameters"]["executes"] if answer.status == HTTPStatus.OK else None
    return found if found is None else str(found)


def unasked(task: Task, asked: Sequence[Example]) -> list[Example]:
    """Examples to measure speed on: not those that are asked again afterwards, where there are enough others, so that
    no engine has seen their prompts before."""
    ids = {each.id for each in asked}
    others = [each for each in task.examples("test") if each.id not in ids][:MOST_UNASKED]
    with suppress(ValueError):  # a task need not have that split
        others += task.examples("calibration")[: MOST_UNASKED - len(others)]
    return others if len(others) >= WARM_UP_EXAMPLES + LATENCY_EXAMPLES else [*others, *asked][:MOST_UNASKED]


def distance(task: Task, classifier: DigitClassifier, pictures: Sequence[bytes], progress: Progress) -> Distance:
    """From what was drawn to the held-out real ones."""
    real = [each.input for each in Mnist(home(), progress).examples("test") if isinstance(each.input, bytes)]
    value = frechet_distance(classifier.features(pictures), classifier.features(real))
    return Distance(task=task.name, value=value, n=len(pictures), real=len(real))


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
