"""Text classification through the whole server: a real model and its variants get the requests of a labelled campaign.
The server's counts must equal offline evaluation in a separate engine, for each example."""

from pathlib import Path

import aiohttp
import httpx
import pytest

from loadtest.campaign.plan import Content, Pool
from loadtest.worker.requests import load_request
from serve.config.loader import load, parse
from serve.config.snapshot import ServedVariant
from serve.config.stack import Stack
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.evaluation.engine_client import EngineClient
from serve.evaluation.predictors import predictor
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.processes import ROOT
from variants import tasks
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import build
from variants.evaluation.evaluate import Outcome, accuracy, evaluate
from variants.home import home, sources_of

pytestmark = pytest.mark.integration
N = 40
VARIANTS = ("baseline", "int8-dynamic")
TRAIN = {
    "kind": "train-text", "task": "r8_topics", "examples": 96, "epochs": 1, "batch": 16, "learning_rate": 0.0005,
    "tokens": 24,
}  # fmt: skip


@pytest.fixture(scope="module")
def stack() -> Stack:
    """The family's stack with two variants and a baseline that trains for a few seconds."""
    document = load(ROOT / "deploy" / "stacks" / "text-classification.yaml").model_dump(mode="json", by_alias=True)
    document["server"]["port"] = free_port()
    variants = document["models"]["topics"]["variants"]
    document["models"]["topics"]["variants"] = {name: variants[name] for name in VARIANTS}
    variants["baseline"]["recipe"] = TRAIN
    return parse(document)


@pytest.fixture(scope="module")
def artifacts(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Artifact]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "sources").symlink_to(sources_of(home()))
    return build(stack.plans(), Store(folder), Catalog(folder))


async def offline(variant: ServedVariant, folder: Path) -> list[Outcome]:
    """Outcomes of offline evaluation, with the variant's engine in its own process."""
    task = tasks.get("r8_topics")
    how = launch(variant.engine.settings, variant.engine.artifact.path, variant.manifest, variant.engine.name)
    process = EngineProcess(variant.name, how, folder / f"{variant.name}-offline.log")
    try:
        url = await process.start()
        async with aiohttp.ClientSession() as session:
            predict = await predictor(EngineClient(session, url, variant.asked_as, process.headers), task)
            return await evaluate(task, task.examples("test", N), predict)
    finally:
        await process.stop()


async def ask_all(client: httpx.AsyncClient, variant: str | None) -> list[httpx.Response]:
    """The answers to the requests of a labelled campaign, sent one at a time."""
    pool = Pool(kind="article", model="topics", task="r8_topics", contents=())
    answers = []
    for example in tasks.get("r8_topics").examples("test", N):
        content = Content(example=example.id, text=str(example.input), label=example.label)
        asked = load_request(pool, content, variant, None if variant else "client-1")
        answers.append(await client.post(asked.path, content=asked.body, headers=asked.headers))
    return answers


async def counted(client: httpx.AsyncClient, variant: str, outcome: str) -> float:
    wanted = ("understudy_labelled_requests_total{", f'variant="{variant}"', 'task="r8_topics"', f'outcome="{outcome}"')
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))


async def test_what_is_counted_live_is_what_is_found_offline(
    stack: Stack, artifacts: dict[tuple[str, str], Artifact], tmp_path: Path
) -> None:
    task = tasks.get("r8_topics")
    async with local(tmp_path, stack, artifacts) as served:
        for name in VARIANTS:
            outcomes = await offline(served.upstreams.snapshot.variants["topics", name], tmp_path)
            measured, macro_f1 = accuracy(task, outcomes)
            before = [await counted(served.client, name, outcome) for outcome in ("right", "wrong")]
            answers = await ask_all(served.client, name)
            assert {answer.headers["x-understudy-variant"] for answer in answers} == {name}
            assert [answer.json()["outputs"][0]["data"][0] for answer in answers] == [each.answer for each in outcomes]
            right, wrong = [
                await counted(served.client, name, each) - was
                for each, was in zip(("right", "wrong"), before, strict=True)
            ]
            assert (right + wrong, right / N) == (N, measured.value)
            assert measured.value > 0.5, "half of the stories are earnings"
            assert (measured.metric, macro_f1.metric) == ("accuracy", "macro-F1")
            assert 0 < macro_f1.value <= 1


async def test_a_routed_story_gets_scores_and_its_variant(
    stack: Stack, artifacts: dict[tuple[str, str], Artifact], tmp_path: Path
) -> None:
    async with local(tmp_path, stack, artifacts) as served:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["net profit rose", "wheat exports"]}
        answer = await served.client.post("/v2/models/topics/infer", json={"inputs": [tensor]})
        scores, labels = answer.json()["outputs"]
        assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP32", [2, 8])
        assert sum(scores["data"][:8]) == pytest.approx(1, abs=1e-4)
        assert (labels["name"], labels["datatype"], labels["shape"]) == ("labels", "BYTES", [2])
        assert set(labels["data"]) <= set(tasks.get("r8_topics").labels)
        assert answer.headers["x-understudy-variant"] in VARIANTS
        metadata = (await served.client.get("/v2/models/topics")).json()
        assert metadata["versions"] == list(VARIANTS)
        refused = await served.client.post("/v1/completions", json={"model": "topics", "prompt": "net profit"})
        assert refused.status_code == 400
