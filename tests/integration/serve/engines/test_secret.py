"""An engine answers only to who started it."""

import os
from pathlib import Path
from secrets import token_urlsafe

import aiohttp
import httpx
import psutil
import pytest

from serve.engines.http.secret import HEADER, VARIABLE
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.evaluation.engine_client import EngineClient
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack, make_artifacts, make_stack
from variants.errors import EngineError

pytestmark = pytest.mark.integration
ASK = {"model": "echo@baseline", "prompt": "a b", "max_tokens": 2}


async def test_without_the_secret_no_path_answers(tmp_path: Path) -> None:
    stack = make_stack()
    artifact = make_artifacts(tmp_path, stack)["bands", "baseline"]
    how = launch(stack.models["bands"].variants["baseline"].engine, artifact.path, artifact.manifest, "bands@baseline")
    engine, other = (EngineProcess("bands@baseline", how, tmp_path / f"{name}.log") for name in "ab")
    assert engine.secret != other.secret
    try:
        url = await engine.start()
        await engine.check_answers()
        async with httpx.AsyncClient(base_url=url) as client:
            for path in ("/health", "/v2/models/bands@baseline", "/v1/models", "/nowhere"):
                for headers in ({}, {HEADER: ""}, {HEADER: "guess"}, other.headers):
                    assert (await client.get(path, headers=headers)).status_code == 401
            for path in ("/v1/load_lora_adapter", "/v2/models/bands@baseline/infer"):
                assert (await client.post(path, json={})).status_code == 401
            twice = [(HEADER, "guess"), (HEADER, engine.secret)]
            assert (await client.get("/health", headers=twice)).status_code == 401
            assert (await client.get("/health", headers=engine.headers)).status_code == 200
        async with aiohttp.ClientSession() as session:
            known = EngineClient(session, url, "bands@baseline", engine.headers)
            assert await known.get("/v2/models/bands@baseline")
            with pytest.raises(EngineError, match="401"):
                await EngineClient(session, url, "bands@baseline").get("/v2/models/bands@baseline")
        assert engine.secret not in " ".join(psutil.Process(engine.pid).cmdline())
        assert psutil.Process(engine.pid).environ()[VARIABLE] == engine.secret
        assert VARIABLE not in os.environ
    finally:
        await engine.stop()
    assert engine.secret not in (tmp_path / "a.log").read_text()


async def test_another_engine_at_the_address_is_not_taken_for_the_variant(tmp_path: Path) -> None:
    async with local(tmp_path, echo_stack(free_port())) as served:
        engine, upstream = served.engine("echo", "baseline"), served.upstreams.by_model["echo"]["baseline"]
        answer = await served.client.post("/v1/completions", json=ASK)
        assert answer.status_code == 200
        assert engine.secret not in str(answer.headers)
        assert upstream.endpoint is not None
        engine.secret = token_urlsafe()  # as after a restart
        upstream.endpoint = upstream.endpoint._replace(secret=engine.secret)
        refused = await served.client.post("/v1/completions", json=ASK)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        for number in range(8):
            routed = await served.client.post("/v1/completions", json=ASK | {"model": "echo", "user": str(number)})
            assert (routed.status_code, routed.headers["x-understudy-variant"]) == (200, "int8")
