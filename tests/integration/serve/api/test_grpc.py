"""Open Inference Protocol v2 over gRPC: the whole server over scripted engines, with the official tritonclient."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from serve.api.v2 import grpc_server
from serve.config.loader import parse
from serve.config.stack import Stack
from serve.ports import free_port
from serve.protocols.grpc_messages import message_class
from tests.support.local_stage import Local, local
from tests.support.scripted import make_stack, with_variants

pytestmark = pytest.mark.integration
KEYS = {"ask": {"sha256": hashlib.sha256(b"sesame").hexdigest()}}
IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}


def png(brightness: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (32, 32), brightness).save(out, "PNG")
    return out.getvalue()


def stack_of(server: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **settings: Any) -> Stack:
    """`bands` with two variants, `echo` with one."""
    document = make_stack(free_port(), **settings).model_dump(mode="json", by_alias=True)
    document["server"] |= {"grpc_port": free_port(), **(server or {})}
    del document["models"]["near"], document["models"]["echo"]["variants"]["int8"]
    document["models"]["bands"]["limits"] = limits or {}
    engine = document["models"]["bands"]["variants"]["baseline"]["engine"]
    return with_variants(
        parse(document),
        "bands",
        {"baseline": {"weight": 50, "engine": engine}, "int8": {"weight": 50, "parent": "baseline", "engine": engine}},
    )


@asynccontextmanager
async def serving(home: Path, stack: Stack) -> AsyncIterator[tuple[Local, triton.InferenceServerClient]]:
    async with (
        local(home, stack) as served,
        triton.InferenceServerClient(f"127.0.0.1:{stack.server.grpc_port}") as client,
    ):
        yield served, client


def image(*files: bytes) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    data = np.empty(len(files), dtype=object)
    data[:] = files
    tensor.set_data_from_numpy(data)
    return tensor


def requests(metrics: str, name: str, **labels: str) -> float:
    lines = [line for line in metrics.splitlines() if line.startswith(f"{name}{{")]
    kept = [line for line in lines if all(f'{key}="{value}"' in line for key, value in labels.items())]
    return sum(float(line.rpartition(" ")[2]) for line in kept)


async def test_every_call_of_the_official_client(tmp_path: Path) -> None:
    async with serving(tmp_path, stack_of()) as (served, client):
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert (await client.get_server_metadata(as_json=True))["name"] == "understudy"
        assert await client.is_model_ready("bands")
        assert await client.is_model_ready("bands", "int8")
        assert not await client.is_model_ready("bands", "int3")
        assert not await client.is_model_ready("nothing")
        metadata = await client.get_model_metadata("bands", as_json=True)
        assert (metadata["name"], metadata["versions"]) == ("bands", ["baseline", "int8"])
        assert [tensor["name"] for tensor in metadata["inputs"]] == ["image", "pixels"]
        assert metadata["inputs"][1]["shape"] == ["-1", "3", "32", "32"]
        outputs = [triton.InferRequestedOutput("scores", class_count=1), triton.InferRequestedOutput("labels")]
        answer = await client.infer(
            "bands", [image(png(10), png(250))], model_version="int8", outputs=outputs, request_id="7"
        )
        response = answer.get_response()
        assert (response.id, response.model_version) == ("7", "int8")
        assert answer.as_numpy("labels").tolist() == [b"0", b"9"]
        assert [each.split(b":")[1:] for each in answer.as_numpy("scores").ravel()] == [[b"0", b"0"], [b"9", b"9"]]
        pixels = triton.InferInput("pixels", [3, 3, 32, 32], "FP32")
        pixels.set_data_from_numpy(np.full((3, 3, 32, 32), 0.55, np.float32))
        answer = await client.infer("bands", [pixels], compression_algorithm="gzip")
        assert answer.as_numpy("labels").tolist() == [b"5"] * 3
        assert answer.as_numpy("scores").shape == (3, 10)
        text = (await served.client.get("/metrics")).text
        assert requests(text, "understudy_requests_total", model="bands", status="200") == 2


async def test_wrong_requests_have_the_code_and_the_words_of_http(tmp_path: Path) -> None:
    async with serving(tmp_path, stack_of({"body_limit_mib": 1})) as (served, client):

        async def refused(*inputs: triton.InferInput, model: str = "bands", **how: Any) -> tuple[str, str]:
            with pytest.raises(InferenceServerException) as error:
                await client.infer(model, list(inputs), **how)
            return error.value.status(), error.value.message()

        good = image(png(10))
        code, message = await refused(good, model="nothing")
        assert code == "StatusCode.NOT_FOUND"
        http = await served.client.post("/v2/models/nothing/infer", json={"inputs": [IMAGE | {"data": [""]}]})
        assert message == http.json()["error"]
        assert (await refused(good, model_version="int3"))[0] == "StatusCode.NOT_FOUND"
        code, message = await refused(image(b"nothing"))
        assert code == "StatusCode.INVALID_ARGUMENT"
        assert message.startswith("inputs[0].data[0]: not an image")
        code, message = await refused(good, model="echo")
        assert (code, "/v1/completions" in message) == ("StatusCode.INVALID_ARGUMENT", True)
        code, message = await refused(good, model="bands/ready")
        assert (code, "'bands/ready'" in message) == ("StatusCode.NOT_FOUND", True)
        assert (await refused(good, model_version="int8/ready"))[0] == "StatusCode.INVALID_ARGUMENT"
        assert (await refused(good, model=""))[0] == "StatusCode.INVALID_ARGUMENT"
        assert (await refused(image(bytes(2**20))))[0] == "StatusCode.RESOURCE_EXHAUSTED"
        assert (await refused(image(bytes(2**21))))[0] == "StatusCode.RESOURCE_EXHAUSTED"
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
            await client.get_model_config("bands")
        assert (await client.infer("bands", [good])).as_numpy("labels").tolist() == [b"0"]


async def raw(stack: Stack, request: Any, metadata: dict[str, str], timeout_s: float = 30) -> Any:
    """The answer to a ModelInfer call, its metadata and status, without tritonclient."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.server.grpc_port}") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=message_class("ModelInferResponse").FromString,
        )
        call = infer(request, metadata=tuple(metadata.items()), timeout=timeout_s)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return None, dict(error.trailing_metadata() or ()), error.code()
        return answer, dict(await call.trailing_metadata()), await call.code()


def infer_request(file: bytes) -> Any:
    request = message_class("ModelInferRequest")(model_name="bands")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(file)
    return request


async def test_keys_stickiness_labels_and_ids_are_those_of_http(tmp_path: Path) -> None:
    stack = stack_of({"keys": KEYS})
    key = {"authorization": "Bearer sesame"}
    async with serving(tmp_path, stack) as (served, client):
        assert await client.is_server_ready()  # as over HTTP, health needs no key
        _, headers, code = await raw(stack, infer_request(png(10)), {})
        assert (code, headers["www-authenticate"]) == (grpc.StatusCode.UNAUTHENTICATED, "Bearer")
        assert (await raw(stack, infer_request(png(10)), {"authorization": "Bearer x"}))[2].name == "UNAUTHENTICATED"
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            await client.is_model_ready("bands")
        body = {"inputs": [IMAGE | {"data": ["iVBORw0KGgo="]}]}
        seen = set()
        boxes = {"x-understudy-label": "9" * 12_000}  # as long as the boxes of a crowd
        assert (await raw(stack, infer_request(png(250)), key | boxes))[2] == grpc.StatusCode.OK
        for number in range(12):
            who = {"x-understudy-client": f"client-{number}"}
            answer, headers, code = await raw(stack, infer_request(png(250)), key | who | {"x-understudy-label": "9"})
            assert (code, headers["x-understudy-reason"]) == (grpc.StatusCode.OK, "sticky")
            assert answer.model_version == headers["x-understudy-variant"]
            assert len(headers["x-request-id"]) == 32
            http = await served.client.post("/v2/models/bands/infer", json=body, headers=key | who)
            assert http.headers["x-understudy-variant"] == answer.model_version
            seen.add(answer.model_version)
        assert seen == {"baseline", "int8"}
        text = (await served.client.get("/metrics", headers=key)).text
        assert requests(text, "understudy_labelled_requests_total", model="bands", outcome="right") == 12


async def test_a_call_is_compared_unless_it_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.shadow.replayer.Replayer.admits", lambda self, replay: False)  # all wait: none is lost
    stack = stack_of()
    async with serving(tmp_path, stack) as (served, _):
        traffic = "/admin/v1/models/bands/traffic"
        version = (await served.client.get(traffic)).headers["etag"]
        change = {"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}}
        changed = await served.client.put(traffic, json=change, headers={"if-match": version})
        assert changed.status_code == 200, changed.text
        label = {"x-understudy-label": "9"}
        async with asyncio.timeout(20):  # the ingress hears of the shadow with a heartbeat
            while not await offered(served):
                assert (await raw(stack, infer_request(png(250)), label))[2].name == "OK"
        before = await offered(served)
        for headers, more in (({"x-understudy-shadow": "off"}, 0), ({}, 5)):
            for _ in range(5):
                assert (await raw(stack, infer_request(png(250)), label | headers))[2].name == "OK"
            assert await offered(served) == before + more


async def offered(served: Local) -> float:
    """How many requests to `bands` were compared with a shadow, or wait for it."""
    text = (await served.client.get("/metrics")).text
    ended = requests(text, "understudy_shadow_pairs_total", model="bands")
    return ended + requests(text, "understudy_shadow_waiting", model="bands")


async def test_a_full_queue_and_a_deadline_have_their_codes(tmp_path: Path) -> None:
    stack = stack_of(limits={"concurrency": 1, "queue": 0}, first_token_s=1.0)
    async with serving(tmp_path, stack) as (served, _):
        request = infer_request(png(10))
        request.model_version = "int8"
        answers = await asyncio.gather(*(raw(stack, request, {}) for _ in range(3)))
        codes = sorted(code.name for _, _, code in answers)
        assert codes == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
        (full, *_) = [headers for _, headers, code in answers if code.name == "RESOURCE_EXHAUSTED"]
        assert full["retry-after"]
        assert full["x-understudy-variant"] == "int8"
        _, _, code = await raw(stack, request, {}, timeout_s=0.3)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        upstream = served.upstreams.by_model["bands"]["int8"]
        async with asyncio.timeout(0.5):  # before the engine would have answered
            while upstream.running:
                await asyncio.sleep(0.01)
        text = (await served.client.get("/metrics")).text
        assert requests(text, "understudy_requests_total", model="bands", status="499") == 1


async def test_calls_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_server, "CALLS", 1)
    stack = stack_of(first_token_s=1.0)
    async with serving(tmp_path, stack) as (served, client):
        running = asyncio.create_task(client.infer("bands", [image(png(10))]))
        upstreams = served.upstreams.by_model["bands"].values()
        async with asyncio.timeout(20):
            while not any(each.running for each in upstreams):
                await asyncio.sleep(0.01)
        with pytest.raises(InferenceServerException) as refused:
            await client.is_server_live()
        assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        assert (await running).as_numpy("labels").tolist() == [b"0"]
        assert await client.is_server_live()
