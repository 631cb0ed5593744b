"""The demo's stack changed while it serves real models: by the command line, and adapters in vLLM's own engine.

The tests leave the stack as they found it.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.demo.conftest import STACK
from tests.support.family import change
from tests.support.live_load import steady
from tests.support.long import long_only
from tests.support.processes import ROOT
from variants import tasks
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store, entries
from variants.home import home

pytestmark = pytest.mark.integration
MIB = 2**20
GPTQ = {"algorithm": "gptq", "calibration": {"task": "rotten_tomatoes", "examples": 128}}


def understudy(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "serve.cli", *arguments, "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return dict(json.loads(ended.stdout))


@asynccontextmanager
async def digits_asked(url: str, clients: int) -> AsyncIterator[list[tuple[int, str, str]]]:
    """Closed loops of routed digits, at most twenty a second each, so that there is room for the builds of the moment;
    gives (status, variant, artifact) of each answer as they come."""
    answers: list[tuple[int, str, str]] = []
    stopping = asyncio.Event()
    images = [example.input for example in tasks.get("mnist").examples("test", 50)]

    async def loop(http: httpx.AsyncClient, number: int) -> None:
        while not stopping.is_set():
            number += 1
            head = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {}}]}
            image = images[number % len(images)]
            assert isinstance(image, bytes)
            data = len(image).to_bytes(4, "little") + image
            head["inputs"][0]["parameters"] = {"binary_data_size": len(data)}
            text = json.dumps(head).encode()
            headers = {"inference-header-content-length": str(len(text)), "content-type": "application/octet-stream"}
            answer = await http.post("/v2/models/digits/infer", content=text + data, headers=headers)
            named = (answer.headers.get(f"x-understudy-{part}", answer.text) for part in ("variant", "artifact"))
            answers.append((answer.status_code, *named))
            await asyncio.sleep(0.05)

    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        loops = [asyncio.create_task(loop(http, number)) for number in range(clients)]
        try:
            yield answers
        finally:
            stopping.set()
            await asyncio.gather(*loops)


async def test_the_command_line_adds_replaces_and_removes_under_load(demo: tuple[str, int], tmp_path: Path) -> None:
    url, document = demo[0], yaml.safe_load(STACK.read_text())
    variants = document["models"]["digits"]["variants"]
    path = tmp_path / "stack.yaml"

    async def apply(*more: str) -> dict[str, Any]:
        path.write_text(yaml.safe_dump(document))
        return await asyncio.to_thread(understudy, "apply", str(path), "--target", url, *more)

    async with digits_asked(url, 3) as asked:
        first = live_digests(url, "digits")
        variants["second"] = {**variants["int8"], "weight": 40}
        dry = await apply("--dry-run")
        kinds = {each["name"]: each["kind"] for each in dry["differences"]}
        assert kinds.pop("digits@second") == "add"
        assert set(kinds.values()) == {"keep"}
        assert live_digests(url, "digits") == first
        assert (await apply())["change"]["state"] == "done"
        variants["second"]["recipe"] = {"kind": "quantize", "scheme": "bf16"}
        added = live_digests(url, "digits")
        replaced = await apply()
        assert [each["kind"] for each in replaced["differences"] if each["name"] == "digits@second"] == ["replace"]
        second = live_digests(url, "digits")
        await asyncio.sleep(1)
        del variants["second"]
        await apply()
        assert live_digests(url, "digits") == first
    assert {status for status, _, _ in asked} == {200}
    signed = {(variant, artifact) for _, variant, artifact in asked}
    assert {("second", added["second"]), ("second", second["second"])} <= signed
    assert added["second"] != second["second"]
    assert {artifact for variant, artifact in signed if variant != "second"} <= set(first.values())


def live_digests(url: str, model: str) -> dict[str, str]:
    models = httpx.get(f"{url}/admin/v1/models", timeout=30).json()["models"]
    (served,) = [each for each in models if each["model"] == model]
    return {variant["variant"]: variant["artifact_sha256"] for variant in served["variants"]}


def copy_of(artifact: Artifact, variant: str) -> Artifact:
    """The same adapter under another name, with a file more so that its digest is its own."""
    store = Store(home())
    key = f"{int(artifact.manifest.key[:56], 16) ^ int.from_bytes(variant.encode(), 'big'):056x}{'0' * 8}"
    if store.has(key):
        return store.open(key)
    with store.staging(key) as staged:
        (staged / "model").mkdir()
        for file in artifact.model_path.iterdir():
            (staged / "model" / file.name).write_bytes(file.read_bytes())
        (staged / "model" / "name.txt").write_text(variant)
        files = entries(staged)
        fields = {name: getattr(artifact.manifest, name) for name in Manifest.model_fields}
        fields |= {"key": key, "digest": Manifest.digest_of_files(files), "variant": variant, "files": files}
        return store.keep(staged, Manifest(**fields))


async def test_three_adapters_come_and_go_in_the_engine_that_serves_one(demo: tuple[str, int]) -> None:
    url = demo[0]
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        state = (await client.get("/admin/v1/stack")).json()
        artifact = Store(home()).open(state["artifacts"]["smollm2@lora"])
        before = await engine_of_lora(client)
        async with steady(url, "smollm2", 2, ("lora",)) as load:
            await asyncio.sleep(2)
            grown, digests = dict(state), {}
            variants = grown["stack"]["models"]["smollm2"]["variants"]
            for number in (1, 2, 3):
                name = f"lora{number}"
                copied = copy_of(artifact, name)
                variants[name] = variants["lora"]
                grown["artifacts"][f"smollm2@{name}"] = copied.manifest.key
                done = await change(client, {"stack": grown["stack"], "artifacts": grown["artifacts"]})
                assert done["state"] == "done", done
                print(f"adapter {number} live after {done['seconds']['all']} s")
                digests[name] = copied.manifest.digest
            for name, digest in digests.items():
                body = {"model": f"smollm2@{name}", "prompt": "Review: fine\nSentiment:", "max_tokens": 1}
                answer = await client.post("/v1/completions", json=body)
                assert answer.json()["system_fingerprint"] == digest
            await asyncio.sleep(11)  # memory is read every ten seconds
            after = await engine_of_lora(client)
            for name in digests:
                del variants[name]
                del grown["artifacts"][f"smollm2@{name}"]
            done = await change(client, {"stack": grown["stack"], "artifacts": grown["artifacts"], "force": True})
            assert done["state"] == "done", done
    assert load.broken == []
    assert set(load.statuses) == {200}
    assert after["engine_id"] == before["engine_id"]
    assert (after["memory_bytes"] - before["memory_bytes"]) / 3 < 50 * MIB


async def engine_of_lora(client: httpx.AsyncClient) -> dict[str, Any]:
    models = (await client.get("/admin/v1/models")).json()["models"]
    (text,) = [each for each in models if each["model"] == "smollm2"]
    return next(dict(variant) for variant in text["variants"] if variant["variant"] == "lora")


@long_only
@pytest.mark.parametrize("more", [{}, GPTQ], ids=["rtn", "gptq"])
async def test_int4_is_made_and_served_beside_the_others(
    demo: tuple[str, int], tmp_path: Path, more: dict[str, Any]
) -> None:
    """What llmcompressor packs is what vLLM reads: it finds a sentence likelier than the same words in disorder."""
    url, document = demo[0], yaml.safe_load(STACK.read_text())
    variants, path = document["models"]["smollm2"]["variants"], tmp_path / "stack.yaml"
    variants["int4"] = {**variants["int8"], "recipe": {"kind": "quantize", "scheme": "w4a16", "group_size": 64, **more}}

    async def apply(*options: str) -> None:
        path.write_text(yaml.safe_dump(document))
        done = await asyncio.to_thread(understudy, "apply", str(path), "--target", url, *options)
        assert done["change"]["state"] == "done", done

    async def surprise(client: httpx.AsyncClient, text: str) -> float:
        body = {"model": "smollm2@int4", "prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        answer = await client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-understudy-artifact"] == live_digests(url, "smollm2")["int4"]
        return -float(sum(answer.json()["choices"][0]["logprobs"]["token_logprobs"][1:-1]))

    await apply()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            sense = await surprise(client, "The capital of France is Paris.")
            nonsense = await surprise(client, "Paris the is of capital France.")
    finally:
        del variants["int4"]
        await apply("--force")
    assert sense < nonsense - 5
