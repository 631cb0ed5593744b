"""Triton's statistics, configuration and repository index over real engines, with the official client."""

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image

from serve.ports import free_port
from tests.support.local_stage import Local, local
from tests.support.scripted import make_stack

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
TIMES = {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output"}


class Client:
    """tritonclient, which blocks, in a thread; its greenlets stay in the thread that made them."""

    def __init__(self, door: Local) -> None:
        self.address = str(door.client.base_url).removeprefix("http://")

    async def ask(self, name: str, *asked: Any, **more: Any) -> Any:
        def blocking() -> Any:
            with triton.InferenceServerClient(self.address) as client:
                return getattr(client, name)(*asked, **more)

        return await asyncio.to_thread(blocking)

    async def classify(self, images: int, version: str = "") -> None:
        out = io.BytesIO()
        Image.new("L", (32, 32), 200).save(out, "PNG")
        tensor = triton.InferInput("image", [images], "BYTES")
        tensor.set_data_from_numpy(np.array([out.getvalue()] * images, dtype=object))
        await self.ask("infer", "bands", [tensor], model_version=version)


async def test_statistics_count_what_was_asked(door: Local) -> None:
    client = Client(door)

    async def bands() -> dict[str, Any]:
        (entry,) = (await client.ask("get_inference_statistics", "bands"))["model_stats"]
        assert (entry["name"], entry["version"]) == ("bands", "baseline")
        assert set(entry["inference_stats"]) == TIMES
        assert all(set(times) == {"count", "ns"} for times in entry["inference_stats"].values())
        return dict(entry)

    before = await bands()
    await client.classify(3)
    await client.classify(2, "baseline")
    assert (await door.client.post("/v2/models/bands/infer", content=b"nonsense")).status_code == 400  # not the model's
    wrong = {"inputs": [{"name": "other", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
    assert (await door.client.post("/v2/models/bands/infer", json=wrong)).status_code == 400
    after = await bands()
    times = {name: after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"] for name in TIMES}
    assert after["inference_count"] - before["inference_count"] == 5
    assert 1 <= after["execution_count"] - before["execution_count"] <= 5
    assert (times["success"], times["fail"]) == (2, 1)
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    one = await client.ask("get_inference_statistics", "bands", "baseline")
    assert one["model_stats"] == [await bands()]


async def test_statistics_of_all_models_name_every_variant(door: Local) -> None:
    every = (await Client(door).ask("get_inference_statistics"))["model_stats"]
    assert [(entry["name"], entry["version"]) for entry in every] == [
        *(("echo", "baseline"), ("echo", "int8"), ("bands", "baseline")),
        *(("near", "baseline"), ("near", "int8")),
    ]
    body = {"model": "echo@int8", "prompt": "a b", "max_tokens": 1}
    assert (await door.client.post("/v1/completions", json=body)).status_code == 200
    (after,) = (await Client(door).ask("get_inference_statistics", "echo", "int8"))["model_stats"]
    (before,) = [entry for entry in every if (entry["name"], entry["version"]) == ("echo", "int8")]
    assert after["inference_count"] - before["inference_count"] == 1


async def test_a_configuration_agrees_with_the_metadata(door: Local) -> None:
    client = Client(door)
    config = await client.ask("get_model_config", "bands", "baseline")
    assert config == await client.ask("get_model_config", "bands")
    metadata = await client.ask("get_model_metadata", "bands")
    assert (config["name"], config["platform"]) == ("bands", metadata["platform"])
    assert config["max_batch_size"] == 2048
    inputs = {tensor["name"]: (tensor["data_type"], tensor["dims"]) for tensor in config["input"]}
    assert inputs == {"image": ("TYPE_STRING", [1]), "pixels": ("TYPE_FP32", [3, 32, 32])}
    assert {tensor["name"] for tensor in config["output"]} == {tensor["name"] for tensor in metadata["outputs"]}
    text = await client.ask("get_model_config", "echo")
    assert (text["name"], text["input"], text["output"]) == ("echo", [], [])


async def test_the_index_names_every_variant_and_its_state(door: Local) -> None:
    index = await Client(door).ask("get_model_repository_index")
    assert len(index) == 5
    assert {entry["state"] for entry in index} == {"READY"}
    assert all(set(entry) == {"name", "version", "state", "reason"} for entry in index)
    ready = (await door.client.post("/v2/repository/index", json={"ready": True})).json()
    assert ready == index
    assert (await door.client.post("/v2/repository/index")).json() == index


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/v2/models/nothing/stats", 404, "models are echo"),
        ("GET", "/v2/models/bands/versions/int3/stats", 404, "variants are baseline"),
        ("GET", "/v2/models/nothing/config", 404, "models are echo"),
        ("GET", "/v2/models/bands@int8/versions/baseline/config", 400, "name one"),
        ("GET", "/v2/repository/index", 405, "does not accept GET"),
        ("POST", "/v2/models/bands/stats", 405, "does not accept POST"),
    ],
)
async def test_wrong_requests_have_the_protocols_shape(
    door: Local, method: str, path: str, status: int, says: str
) -> None:
    answer = await door.client.request(method, path)
    assert answer.status_code == status
    assert says in answer.json()["error"]


async def test_the_index_refuses_what_is_no_boolean(door: Local) -> None:
    answer = await door.client.post("/v2/repository/index", json={"ready": "yes"})
    assert (answer.status_code, answer.json()["error"][:6]) == (400, "ready:")


async def test_a_variant_that_is_down_is_shown_as_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    async with local(tmp_path, make_stack(free_port())) as served:
        await served.engine("near", "int8").stop()
        while served.upstreams.by_model["near"]["int8"].endpoint is not None:
            await asyncio.sleep(0.1)
        index = (await served.client.post("/v2/repository/index", json={})).json()
        down = [entry for entry in index if entry["state"] != "READY"]
        assert [(each["name"], each["version"], each["state"]) for each in down] == [("near", "int8", "UNAVAILABLE")]
        assert down[0]["reason"]
        assert len((await served.client.post("/v2/repository/index", json={"ready": True})).json()) == 4
        assert len((await served.client.get("/v2/models/near/stats")).json()["model_stats"]) == 1
        assert (await served.client.get("/v2/models/near/versions/int8/stats")).status_code == 503
        assert (await served.client.get("/health")).status_code == 200  # baseline still answers
