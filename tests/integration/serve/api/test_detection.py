"""A detector and its int8 variant in a server: labelled requests and a campaign agree with offline evaluation."""

import asyncio
from pathlib import Path

import aiohttp
import httpx
import pytest

from loadtest.campaign.schema import parse_campaign
from loadtest.results.summary import summarise
from loadtest.worker.parent import run
from serve.config.stack import Stack
from serve.evaluation.engine_client import EngineClient
from serve.evaluation.predictors import predictor
from serve.ports import free_port
from serve.protocols.open_inference import HEADER_LENGTH, bytes_tensor, encode_request
from tests.integration.conftest import Detectors
from tests.integration.detectors import small_stack
from tests.support.local_stage import Local, local
from variants import tasks
from variants.evaluation.evaluate import evaluate
from variants.home import home
from variants.metrics.detection import METRICS
from variants.metrics.outcome import Outcome
from variants.tasks import Example
from variants.vision.boxes import outcome

pytestmark = pytest.mark.integration
N = 40
CAMPAIGN = {
    "schema": 1, "name": "boxes", "limit_s": 60, "timeout_s": 10,
    "mixed": {
        "seconds": 1, "clients": 20,
        "arrivals": [{"model": "scenes", "task": "scenes", "ask": "label", "per_s": 20}],
    },
    "accuracy": {"clients": 4, "limit_s": 40, "tests": [{"model": "scenes", "task": "scenes", "n": N}]},
    "speed": {"clients": 2, "tests": [
        {"model": "scenes", "task": "scenes", "slices": 3, "slice_s": 0.3, "lead_in_s": 0.1, "warm_up_s": 0.1}]},
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_home(detectors: Detectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", detectors.home)


def two_variants(port: int) -> Stack:
    document = small_stack(port).model_dump(mode="json", by_alias=True)
    variants = document["models"]["scenes"]["variants"]
    document["models"]["scenes"]["variants"] = {name: variants[name] for name in ("baseline", "int8")}
    return Stack.model_validate(document)


async def offline(served: Local, variant: str, examples: list[Example]) -> list[Outcome]:
    """Outcomes of offline evaluation with the variant's engine."""
    engine = served.engine("scenes", variant)
    task = tasks.get("scenes", home())
    async with aiohttp.ClientSession() as session:
        predict = await predictor(EngineClient(session, engine.url, f"scenes@{variant}", engine.headers), task)
        return await evaluate(task, examples, predict)


async def ask(client: httpx.AsyncClient, variant: str, example: Example, **headers: str) -> httpx.Response:
    assert isinstance(example.input, bytes)
    body, length = encode_request([bytes_tensor("image", [example.input])], binary=True, binary_output=True)
    told = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream", **headers}
    return await client.post(f"/v2/models/scenes/versions/{variant}/infer", content=body, headers=told)


async def counted(client: httpx.AsyncClient, variant: str) -> dict[str, float]:
    """The variant's labelled requests by outcome, and the sum of their outcomes."""
    counts = {"right": 0.0, "wrong": 0.0, "score": 0.0}
    for line in (await client.get("/metrics")).text.splitlines():
        if 'model="scenes"' in line and f'variant="{variant}"' in line and 'task="scenes"' in line:
            value = float(line.rpartition(" ")[2])
            if line.startswith("understudy_labelled_score_total{"):
                counts["score"] += value
            elif line.startswith("understudy_labelled_requests_total{"):
                counts["right" if 'outcome="right"' in line else "wrong"] += value
    return counts


async def test_live_is_offline_on_the_same_images(detectors: Detectors, tmp_path: Path) -> None:
    stack = two_variants(free_port())
    artifacts = {("scenes", name): detectors.artifacts[name] for name in ("baseline", "int8")}
    examples = tasks.get("scenes", home()).examples("test", N)
    async with local(tmp_path, stack, artifacts) as served:
        known = {name: await offline(served, name, examples) for name in ("baseline", "int8")}
        for name, outcomes in known.items():
            before = await counted(served.client, name)
            for example in examples:
                told = {"x-understudy-label": example.label, "x-understudy-task": "scenes"}
                answer = await ask(served.client, name, example, **told)
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-understudy-variant"] == name
            after = await counted(served.client, name)
            grown = {key: after[key] - before[key] for key in after}
            assert grown["right"] == sum(each.correct for each in outcomes)
            assert grown["right"] + grown["wrong"] == N
            assert grown["score"] == pytest.approx(sum(outcome(each.answer, each.label) for each in outcomes))
            assert grown["score"] > 0
        url = str(served.client.base_url).rstrip("/")
        await asyncio.to_thread(run, url, parse_campaign(CAMPAIGN), tmp_path / "out", lambda step: None)
    summary = await asyncio.to_thread(summarise, tmp_path / "out")
    (model,) = summary.models
    assert all(variant.failed == 0 and variant.requests > N for variant in model.variants)
    for variant in model.variants:
        (figure,) = variant.accuracy
        wanted = METRICS[0].measure(known[variant.variant])
        assert (figure.task, figure.metric, figure.n) == ("scenes", "mAP50", N)
        assert (figure.value, figure.low, figure.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    (comparison,) = model.comparisons
    (apart,) = comparison.accuracy
    wanted = METRICS[0].difference(known["int8"], known["baseline"])
    assert (apart.metric, apart.difference) == ("mAP50", pytest.approx(wanted.value))
    assert comparison.bytes_ratio < 0.7


async def test_a_label_that_is_no_list_of_boxes_is_refused_before_any_work(
    detectors: Detectors, tmp_path: Path
) -> None:
    stack = two_variants(free_port())
    artifacts = {("scenes", name): detectors.artifacts[name] for name in ("baseline", "int8")}
    (example,) = tasks.get("scenes", home()).examples("test", 1)
    async with local(tmp_path, stack, artifacts) as served:
        for label in ("7", '[{"label": "7", "box": [1, 2, 3]}]'):
            answer = await ask(served.client, "int8", example, **{"x-understudy-label": label})
            assert answer.status_code == 400
            assert answer.json()["error"].startswith("x-understudy-label: ")
        unlabelled = await ask(served.client, "int8", example)
        assert unlabelled.status_code == 200
        metadata = (await served.client.get("/v2/models/scenes/versions/int8")).json()
        assert [output["name"] for output in metadata["outputs"]] == ["boxes", "scores", "labels"]
