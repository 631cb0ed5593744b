"""vLLM's server, forked from a warmed process, answers only to who started it, on every path."""

from pathlib import Path

import httpx
import psutil
import pytest

from serve.config.stack import VllmEngine
from serve.engines.http.secret import HEADER
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.engines.warm_client import ForkedProcess, WarmedProcesses
from tests.integration.serve.engines.engine import write_manifest
from tests.integration.serve.engines.tiny_text import write_tiny_text
from variants.artifacts.store import read_manifest

pytestmark = pytest.mark.integration
PATHS = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/v1/load_lora_adapter", "/v1/unload_lora_adapter")


async def test_without_the_secret_no_path_answers(tmp_path: Path) -> None:
    write_tiny_text(tmp_path / "model")
    write_manifest(tmp_path)
    settings = VllmEngine(kind="vllm", context=64, kv_cache_mib=16, sequences=2)
    how = launch(settings, tmp_path, read_manifest(tmp_path), "tiny@baseline")
    assert how.warm is not None
    warmed = WarmedProcesses(tmp_path / "logs")
    engine = EngineProcess("tiny@baseline", how, tmp_path / "engine.log", warmed)
    body = {"model": "tiny@baseline", "prompt": "a", "max_tokens": 1}
    try:
        async with httpx.AsyncClient(base_url=await engine.start(), timeout=60) as client:
            assert isinstance(engine.process, ForkedProcess)
            warm = psutil.Process(warmed.by_what[how.warm].process.pid)
            assert warm.num_threads() == 1, "a fork loses all other threads"
            for path in PATHS:
                for headers in ({}, {HEADER: "guess"}, {"authorization": f"Bearer {engine.secret}"}):
                    assert (await client.post(path, json=body, headers=headers)).status_code == 401
            for path in ("/health", "/v1/models", "/version", "/metrics", "/docs", "/openapi.json"):
                assert (await client.get(path)).status_code == 401
            answered = await client.post("/v1/completions", json=body, headers=engine.headers)
            assert answered.status_code == 200, answered.text
            wrong = await client.post("/v1/completions", json=body | {"n": -1}, headers=engine.headers)
            assert wrong.json()["error"]["code"] == "invalid_request"
        await engine.check_answers()
        assert engine.sockets is not None
        sockets = Path(engine.sockets.name)
        assert list(sockets.iterdir())
    finally:
        await engine.stop()
        await warmed.close()
    assert not sockets.exists()
    assert engine.secret not in (tmp_path / "engine.log").read_text()
