"""An engine that refuses or dies while it is evaluated is one clear error, never a traceback."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serve.evaluation.engine_client import EngineClient
from serve.evaluation.forward_pass import ForwardPass, batch_for
from serve.evaluation.predictors import predictor
from tests.support.scripted import make_artifact
from variants import tasks
from variants.errors import EngineError, InputError
from variants.evaluation.evaluate import evaluate
from variants.tasks.task_file import TaskFile

pytestmark = pytest.mark.integration


async def leave(request: web.Request) -> web.Response:
    """What a client of a killed engine sees: the connection ends without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def refuse(request: web.Request) -> web.Response:
    return web.Response(status=503, text="out of memory")


async def tokenize(request: web.Request) -> web.Response:
    return web.json_response({"tokens": [ord((await request.json())["prompt"].strip()[0])]})


async def stats(request: web.Request) -> web.Response:
    computed = {"inference_count": 0, "inference_stats": {"compute_infer": {"ns": 0}}}
    return web.json_response({"model_stats": [computed]})


@pytest.fixture(params=[leave, refuse])
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/tokenize", tokenize)
    app.router.add_get("/v2/models/{name}/stats", stats)
    app.router.add_post("/{rest:.*}", request.param)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize("name", ["rotten_tomatoes", "mnist"])
async def test_an_engine_that_fails_while_asked_is_an_engine_error(url: str, name: str) -> None:
    task = tasks.get(name)
    async with aiohttp.ClientSession() as session:
        predict = await predictor(EngineClient(session, url, "made"), task)
        with pytest.raises(EngineError, match=r"did not answer|answered 503: out of memory"):
            await evaluate(task, task.examples("test", 20), predict)


async def test_labels_that_begin_alike_are_refused_with_a_mend(url: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row {at},{('bad', 'better')[at % 2]}\n" for at in range(60)))
    definition = {"data": {"uri": str(path)}, "input": "{{ text }}", "label": "label", "scorer": "choice"}
    task = tasks.Tasks({"own": TaskFile.model_validate(definition)}).get("own", tmp_path)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(
            InputError, match=r"tasks\.own\.labels: own: labels share their first token.*end `input` with"
        ):
            await predictor(EngineClient(session, url, "made"), task)


async def test_refused_inferences_are_no_rate(url: str, tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "bands", "baseline", "image-classification")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(EngineError, match=r"did not answer|answered 503: out of memory"):
            await ForwardPass(EngineClient(session, url, "made"), batch_for(artifact.manifest, [])).median_rate()


async def test_nobody_there_is_an_engine_error() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(EngineError, match="did not answer"):
            await predictor(EngineClient(session, "http://127.0.0.1:9", "made"), tasks.get("r8"))
