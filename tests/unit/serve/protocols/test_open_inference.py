"""The v2 codec: compared with tritonclient's encoder and decoder, and with invalid messages."""

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serve.protocols.open_inference import (
    Tensor,
    bytes_tensor,
    encode_request,
    encode_response,
    parse_request,
    parse_response,
)
from variants.errors import InputError


def triton_request(name: str, data: np.ndarray, datatype: str, *, binary: bool) -> tuple[bytes, str | None]:
    """A request body, written by the official client."""
    tensor = triton.InferInput(name, list(data.shape), datatype)
    tensor.set_data_from_numpy(data, binary_data=binary)
    body, length = triton.InferenceServerClient.generate_request_body([tensor])
    return body, None if length is None else str(length)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", np.array([[1.5, -2.25], [3e38, 0]], dtype=np.float32)),
        ("INT64", np.array([2**62, -5])),
        ("UINT8", np.array([[[0, 255]]], dtype=np.uint8)),
        ("BOOL", np.array([True, False])),
        ("BYTES", np.array([b"a", b"", "é".encode()], dtype=object)),
    ],
)
def test_reads_what_tritonclient_writes(datatype: str, data: np.ndarray, binary: bool) -> None:
    (tensor,) = parse_request(*triton_request("x", data, datatype, binary=binary)).inputs
    assert (tensor.name, tensor.datatype, tensor.in_json) == ("x", datatype, not binary)
    np.testing.assert_array_equal(tensor.data, data)


def test_tritonclient_reads_what_is_written() -> None:
    scores = np.array([[0.25, 0.75]], dtype=np.float32)
    tensors = (Tensor("scores", "FP32", scores), bytes_tensor("labels", [b"caf\xc3\xa9"]))
    outputs = [
        triton.InferRequestedOutput("scores", binary_data=True),
        triton.InferRequestedOutput("labels", binary_data=False),
    ]
    tensor = triton.InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.zeros(1, dtype=np.float32))
    asked, length = triton.InferenceServerClient.generate_request_body([tensor], outputs=outputs, request_id="7")
    body, header = encode_response("digits@int8", tensors, parse_request(asked, str(length)))
    answer = triton.InferenceServerClient.parse_response_body(body, header_length=header)
    np.testing.assert_array_equal(answer.as_numpy("scores"), scores)
    assert answer.as_numpy("labels").tolist() == ["café"]
    assert answer.get_response()["id"] == "7"
    assert (answer.get_response()["model_name"], answer.get_response()["model_version"]) == ("digits", "int8")


@given(st.lists(st.binary(max_size=20), min_size=1), arrays.arrays(np.float32, (2, 3)))
def test_what_is_written_in_binary_is_read_back(files: list[bytes], numbers: np.ndarray) -> None:
    tensors = (bytes_tensor("image", files), Tensor("pixels", "FP32", numbers))
    body, length = encode_request(tensors, binary=True, request_id="r")
    read = parse_request(body, str(length))
    assert read.id == "r"
    assert read.inputs[0].data.tolist() == files
    np.testing.assert_array_equal(read.inputs[1].data, numbers)


def test_outputs_have_the_requested_form() -> None:
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "labels", "parameters": {"binary_data": False}}, {"name": "scores"}],
    }
    asked = parse_request(json.dumps(body).encode())
    scores = Tensor("scores", "FP32", np.ones((1, 1), dtype=np.float32))
    answer, length = encode_response("m", (scores, bytes_tensor("labels", [b"a"])), asked)
    assert length is not None
    assert [entry["name"] for entry in json.loads(answer[:length])["outputs"]] == ["labels", "scores"]
    assert answer[length:] == b"\x00\x00\x80\x3f"
    assert parse_response(answer, length)["labels"].tolist() == [b"a"]


def nested(element: Any, depth: int) -> Any:
    for _ in range(depth):
        element = [element]
    return element


def good(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]} | changes]}


def test_null_says_the_same_as_leaving_out() -> None:
    tensor = good(parameters=None)["inputs"]
    nulls = {"id": None, "parameters": None, "outputs": None}
    plain, asked = (parse_request(json.dumps({"inputs": tensor} | more).encode()) for more in ({}, nulls))
    assert (asked.id, asked.outputs, asked.binary_output) == (plain.id, plain.outputs, plain.binary_output)
    assert asked.inputs[0].data.tolist() == [1, 2]
    outputs = [
        {"name": "a", "parameters": None},
        {"name": "b", "parameters": {"binary_data": None, "classification": None}},
    ]
    body = {"inputs": tensor, "outputs": outputs, "parameters": {"binary_data_output": None}}
    assert [(each.binary, each.classification) for each in parse_request(json.dumps(body).encode()).outputs] == [
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[" * 100_000, "body"),
        (b"\xff\xfe", "body"),
        ([], "body"),
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": ["x"]}, "inputs[0]"),
        (good(name=3), "inputs[0].name"),
        (good(datatype="BF16"), "inputs[0].datatype"),
        (good(datatype=None), "inputs[0].datatype"),
        (good(shape=[3]), "inputs[0].shape"),
        (good(shape=[-1]), "inputs[0].shape"),
        (good(shape=[2.0]), "inputs[0].shape"),
        (good(shape=2), "inputs[0].shape"),
        (good(shape=[1] * 64 + [2]), "inputs[0].shape"),
        (good(shape=[0, 2**70], data=[]), "inputs[0].shape"),
        (good(shape=[0, 2**62, 2**62], data=[]), "inputs[0].shape"),
        (good(data=["a", "b"]), "inputs[0].data"),
        (good(data=[[1], [1, 2]]), "inputs[0].data"),
        (good(data=3), "inputs[0].data"),
        (good(datatype="INT8", data=[1, 300]), "inputs[0].data"),
        (good(datatype="INT8", data=[1, 1.5]), "inputs[0].data"),
        (good(datatype="BOOL"), "inputs[0].data"),
        (good(datatype="BYTES"), "inputs[0].data"),
        (good(datatype="BYTES", data=["a", "\ud83d"]), "inputs[0].data"),
        (good(datatype="BYTES", shape=[1], data=nested("a", 600)), "inputs[0].data"),
        (good(shape=[1], data=nested(1.0, 600)), "inputs[0].data"),
        (good(datatype="UINT64", data=[0, 2**64]), "inputs[0].data"),
        (good(datatype="INT64", data=[0, float("nan")]), "inputs[0].data"),
        (good(data=[0, 1e39]), "inputs[0].data"),
        (good(data=[0, 10**400]), "inputs[0].data"),
        (good(data=["x" * 10**6] + ["y"] * 10**5), "inputs[0].data"),
        (good(parameters=[]), "inputs[0].parameters"),
        (good(parameters={"binary_data_size": 4}), "inputs[0].parameters.binary_data_size"),
        (good() | {"id": 3}, "id"),
        (good() | {"outputs": {}}, "outputs"),
        (good() | {"outputs": [{}]}, "outputs[0]"),
        (good() | {"outputs": [{"name": "s", "parameters": {"binary_data": 1}}]}, "outputs[0].parameters.binary_data"),
        (
            good() | {"outputs": [{"name": "s", "parameters": {"classification": 0}}]},
            "outputs[0].parameters.classification",
        ),
        ({"inputs": good()["inputs"] * 2}, "inputs[1].name"),
    ],
)
def test_an_invalid_message_names_the_field(body: object, field: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InputError) as caught:
        parse_request(data)
    assert caught.value.field == field
    assert caught.value.mend


def binary_request(binary: bytes, size: int, **changes: Any) -> tuple[bytes, str]:
    head = {"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}} | changes
    text = json.dumps({"inputs": [head]}).encode()
    return text + binary, str(len(text))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (binary_request(b"\x02\0\0\0a", 5), "inputs[0]"),
        (binary_request(b"\x02\0", 2), "inputs[0]"),
        (binary_request(b"\x01\0\0\0a", 6), "inputs[0].parameters.binary_data_size"),
        (binary_request(b"\x01\0\0\0a", -1), "inputs[0].parameters.binary_data_size"),
        (binary_request(b"\x01\0\0\0ab", 5), "inputs"),
        (binary_request(b"\x01\0\0\0a", 5, shape=[2]), "inputs[0].shape"),
        (binary_request(b"abc", 3, datatype="FP32"), "inputs[0].parameters.binary_data_size"),
        (binary_request(b"abcd", 4, datatype="FP32", shape=[1] * 65), "inputs[0].shape"),
        (binary_request(b"\x01\0\0\0a", 5, shape=[1] * 65), "inputs[0].shape"),
        (binary_request(b"", 0, datatype="FP32", shape=[0, 2**62, 2**62]), "inputs[0].shape"),
        ((b"{}", "9" * 5000), "Inference-Header-Content-Length"),
        ((b"{}", "3"), "Inference-Header-Content-Length"),
        ((b"{}", "two"), "Inference-Header-Content-Length"),
    ],
)
def test_wrong_binary_sizes_name_the_field(request_: tuple[bytes, str], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_request(*request_)
    assert caught.value.field == field


def test_an_unknown_output_is_named() -> None:
    asked = parse_request(json.dumps(good() | {"outputs": [{"name": "boxes"}]}).encode())
    with pytest.raises(InputError, match="boxes") as caught:
        encode_response("m", [bytes_tensor("labels", [b"a"])], asked)
    assert caught.value.field == "outputs[0].name"


def test_of_a_long_answer_only_the_wanted_outputs_are_read() -> None:
    labels = {"name": "labels", "datatype": "BYTES", "shape": [1], "data": ["cat"]}
    scores = {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}
    body = json.dumps({"outputs": [scores, labels]}).encode()
    assert list(parse_response(body, None, ("labels",))) == ["labels"]
    assert parse_response(body, None, ("boxes",)) == {}
    broken = body.replace(b"0.25", b"NaN")
    assert parse_response(broken, None, ("labels",))["labels"].tolist() == [b"cat"]
