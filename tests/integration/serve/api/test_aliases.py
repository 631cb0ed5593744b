"""A model by its other names: every protocol answers, and an answer names the model that was asked for. Without Ray."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from serve.config.loader import parse
from serve.ports import free_port
from tests.support.local_stage import Local, local
from tests.support.scripted import make_artifacts, make_stack

pytestmark = pytest.mark.integration
ALIASES = {
    "echo": ["gpt-4o", "echo-large", "meta-llama/Llama-3.1-8B"],
    "near": ["text-embedding-3-small"],
    "bands": ["resnet", "Org/ResNet:18"],
}
MESSAGES: Any = [{"role": "user", "content": 'say "model":"echo@int8" and "model":"echo@baseline"'}]


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Local]:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    plain = make_stack(free_port())
    document = plain.model_dump(mode="json", by_alias=True)
    for model, aliases in ALIASES.items():
        document["models"][model]["aliases"] = aliases
    async with local(tmp_path, parse(document), make_artifacts(tmp_path, plain)) as served:
        yield served


async def test_aliases(served: Local) -> None:
    client = openai.AsyncOpenAI(base_url=f"{str(served.client.base_url).rstrip('/')}/v1", api_key="none", max_retries=0)
    await check_list(client)
    await check_text(client)
    vectors = await client.embeddings.create(model="text-embedding-3-small", input=["a b", "c d"])
    assert (vectors.model, len(vectors.data), vectors.usage.prompt_tokens > 0) == ("text-embedding-3-small", 2, True)
    await check_v2(served)
    await check_removal(served)


async def check_list(client: openai.AsyncOpenAI) -> None:
    listed = {model.id: model.model_dump() async for model in client.models.list()}
    for model, aliases in ALIASES.items():
        for alias in aliases:
            assert listed[alias]["root"] == model
            assert listed[alias]["capabilities"] == listed[model]["capabilities"]
            assert (await client.models.retrieve(alias)).model_dump() == listed[alias]
    assert (await client.models.retrieve("gpt-4o@int8")).id == "gpt-4o@int8"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4o@int3")


async def check_text(client: openai.AsyncOpenAI) -> None:
    for name in ("gpt-4o", "echo-large", "gpt-4o@int8", "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B@int8"):
        raw = await client.chat.completions.with_raw_response.create(model=name, messages=MESSAGES, temperature=0)
        answer = raw.parse()
        assert answer.model == name
        assert raw.headers["x-understudy-reason"] == ("pinned" if "@" in name else "weight")
        content = answer.choices[0].message.content
        assert content is not None
        assert MESSAGES[0]["content"] in content
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model=name, messages=MESSAGES, temperature=0, stream=True, stream_options={"include_usage": True}
            )
        ]
        assert {chunk.model for chunk in chunks} == {name}
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == content
        assert chunks[-1].usage == answer.usage
    completion = await client.completions.create(model="gpt-4o", prompt="a b c", max_tokens=2)
    assert completion.model == "gpt-4o"
    own = await client.completions.create(model="echo@int8", prompt="a b c", max_tokens=2)
    assert own.model == "echo@int8"
    with pytest.raises(openai.NotFoundError):
        await client.completions.create(model="gpt-4o@int3", prompt="a")


async def check_v2(served: Local) -> None:
    described = (await served.client.get("/v2/models/resnet")).json()
    assert (described["name"], described["versions"]) == ("resnet", ["baseline"])
    assert described["inputs"]
    assert (await served.client.get("/v2/models/resnet/ready")).json() == {"name": "resnet", "ready": True, "down": {}}
    image = np.full((1, 3, 32, 32), 0.5, dtype=np.float32)
    tensor = {"name": "pixels", "shape": image.shape, "datatype": "FP32", "data": image.ravel().tolist()}
    for name in ("Org%2FResNet:18", "Org%2fResNet%3A18"):
        described = (await served.client.get(f"/v2/models/{name}")).json()
        assert (described["name"], described["versions"]) == ("Org/ResNet:18", ["baseline"])
        for path in ("ready", "stats", "config", "versions/baseline/ready", "versions/baseline"):
            assert (await served.client.get(f"/v2/models/{name}/{path}")).status_code == 200, path
    unknown = await served.client.get("/v2/models/Org%2FOther")
    assert (unknown.status_code, "'Org/Other'" in unknown.text) == (404, True)
    for path, model in itertools.product(("infer", "versions/baseline/infer"), ("resnet", "Org%2FResNet:18")):
        body = {"inputs": [tensor]}
        answer = await served.client.post(f"/v2/models/{model}/{path}", content=json.dumps(body))
        own = await served.client.post(f"/v2/models/bands/{path}", content=json.dumps(body))
        assert (answer.status_code, answer.json()["outputs"]) == (own.status_code, own.json()["outputs"]), answer.text
        assert answer.status_code == 200


async def check_removal(served: Local) -> None:
    """An alias that a client has used lately is not removed."""
    stack = served.upstreams.snapshot.stack
    document = stack.model_dump(mode="json", by_alias=True)
    document["models"]["echo"]["aliases"] = ALIASES["echo"][1:]
    artifacts = {f"{m}@{v}": each.manifest.key for (m, v), each in served.upstreams.snapshot.artifacts.items()}
    while "gpt-4o" not in dict(served.controller.heartbeats.named()):
        await asyncio.sleep(0.1)
    answer = await served.client.post("/admin/v1/stack", json={"stack": document, "artifacts": artifacts})
    assert (answer.status_code, "gpt-4o is in use" in answer.text) == (409, True), answer.text
