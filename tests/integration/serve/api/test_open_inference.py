"""Open Inference Protocol v2 through Ray Serve, HAProxy and the relay, with the official tritonclient."""

import io

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc_triton
import tritonclient.http as triton
from PIL import Image

from tests.integration.conftest import Served

pytestmark = pytest.mark.integration


@pytest.fixture
def client(served: Served) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(served.url.removeprefix("http://"))


def png(brightness: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (32, 32), brightness).save(out, "PNG")
    return out.getvalue()


def test_server_and_model_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "understudy"
    assert client.is_model_ready("bands")
    assert client.is_model_ready("bands", "baseline")
    metadata = client.get_model_metadata("bands")
    assert (metadata["name"], metadata["versions"]) == ("bands", ["baseline"])
    assert {tensor["name"] for tensor in metadata["inputs"]} == {"image", "pixels"}
    assert {tensor["name"] for tensor in metadata["outputs"]} == {"scores", "labels"}


@pytest.mark.parametrize("binary", [True, False])
def test_a_batch_of_images_is_classified(client: triton.InferenceServerClient, binary: bool) -> None:
    import base64

    images = [png(10), png(250)]
    elements = images if binary else [base64.b64encode(image) for image in images]
    tensor = triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(elements, dtype=object), binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("scores", "labels")]
    answer = client.infer("bands", [tensor], outputs=outputs, model_version="baseline")
    labels = [label.decode() if isinstance(label, bytes) else label for label in answer.as_numpy("labels")]
    assert labels == ["0", "9"]
    assert answer.as_numpy("scores").shape == (2, 10)


def test_a_request_keeps_its_id_and_may_carry_parameters(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("pixels", [3, 3, 32, 32], "FP32")
    tensor.set_data_from_numpy(np.full((3, 3, 32, 32), 0.55, np.float32))
    answer = client.infer("bands", [tensor], request_id="mine-7", parameters={"note": "kept out of the way"})
    assert answer.get_response()["id"] == "mine-7"
    assert [label.decode() for label in answer.as_numpy("labels")] == ["5"] * 3


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_request_may_come_compressed(client: triton.InferenceServerClient, algorithm: str) -> None:
    tensor = triton.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([png(250)], dtype=object))
    answer = client.infer("bands", [tensor], request_compression_algorithm=algorithm)
    assert answer.as_numpy("labels").tolist() == [b"9"]


def test_another_compression_is_refused_by_name(served: Served) -> None:
    answer = httpx.post(f"{served.url}/v2/models/bands/infer", content=b"x", headers={"content-encoding": "br"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Content-Encoding: 'br' is not understood")


def test_unknown_version_and_bad_tensors_are_refused_by_name(served: Served) -> None:
    url = f"{served.url}/v2/models/bands"
    unknown = httpx.post(f"{url}/versions/int3/infer", content=b"{}")
    assert unknown.status_code == 404
    assert "variants are baseline" in unknown.json()["error"]
    for tensor, says in [
        ({"name": "image", "shape": [1], "datatype": "BYTES", "data": ["bm8="]}, "image"),
        ({"name": "pixels", "shape": [1, 3, 5, 5], "datatype": "FP32", "data": [0.0] * 75}, "32"),
        ({"name": "image", "shape": [2], "datatype": "BYTES", "data": ["bm8="]}, "shape"),
    ]:
        answer = httpx.post(f"{url}/infer", json={"inputs": [tensor]})
        assert answer.status_code == 400
        assert says in answer.json()["error"]
    assert httpx.post(f"{url}/infer", content=b"nonsense").status_code == 400
    conflicting = httpx.get(f"{served.url}/v2/models/bands@int8/versions/baseline")
    assert conflicting.status_code == 400
    assert "name one" in conflicting.json()["error"]


def test_text_models_send_tensor_clients_to_the_right_place(served: Served) -> None:
    answer = httpx.post(f"{served.url}/v2/models/echo/infer", json={"inputs": []})
    assert answer.status_code == 400
    assert "/v1/completions" in answer.json()["error"]


def test_the_same_model_answers_over_grpc(served: Served) -> None:
    tensor = grpc_triton.InferInput("image", [2], "BYTES")
    tensor.set_data_from_numpy(np.array([png(10), png(250)], dtype=object))
    with grpc_triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as grpc_client:
        assert grpc_client.is_server_ready()
        answer = grpc_client.infer("bands", [tensor])
    assert answer.get_response().model_version == "baseline"
    assert answer.as_numpy("labels").tolist() == [b"0", b"9"]
