"""The gRPC messages against tritonclient's, and their translation against the HTTP parser."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from tritonclient.grpc import service_pb2 as official

from serve.protocols.grpc_codec import http_body, infer_response
from serve.protocols.grpc_messages import MESSAGES, message_class
from serve.protocols.open_inference import InferRequest, Tensor, bytes_tensor, encode_response, parse_request
from variants.errors import InputError

Request: Any = message_class("ModelInferRequest")


def fields(descriptor: Any) -> list[tuple[Any, ...]]:
    return [
        (each.name, each.number, each.type, each.is_repeated, each.message_type and each.message_type.full_name)
        for each in descriptor.fields
    ]


@pytest.mark.parametrize("name", [name for name in MESSAGES if "." not in name])
def test_a_message_is_the_official_one(name: str) -> None:
    ours, theirs = message_class(name).DESCRIPTOR, getattr(official, name).DESCRIPTOR
    assert fields(ours) == fields(theirs)
    assert set(ours.oneofs_by_name) == set(theirs.oneofs_by_name)
    inner = ours.nested_types_by_name
    assert set(inner) == set(theirs.nested_types_by_name)
    for part, nested in inner.items():
        assert fields(nested) == fields(theirs.nested_types_by_name[part])
        assert nested.GetOptions().map_entry == theirs.nested_types_by_name[part].GetOptions().map_entry


def test_the_service_has_the_official_name_and_calls() -> None:
    file = FileDescriptorProto()
    official.DESCRIPTOR.CopyToProto(file)
    (service,) = file.service
    calls = {call.name: (call.input_type, call.output_type) for call in service.method}
    assert f"{file.package}.{service.name}" == "inference.GRPCInferenceService"
    for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"):
        assert calls[name] == (f".inference.{name}Request", f".inference.{name}Response")


def asked(*inputs: Any, **more: Any) -> InferRequest:
    return parse_request(*http_body(Request(inputs=inputs, **more)))


def given(datatype: str, shape: list[int], **contents: Any) -> Any:
    tensor: Any = official.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
    for name, values in contents.items():
        getattr(tensor.contents, name).extend(values)
    inner: Any = message_class("ModelInferRequest.InferInputTensor")
    return inner.FromString(tensor.SerializeToString())


@pytest.mark.parametrize(
    ("datatype", "name", "values"),
    [
        ("BOOL", "bool_contents", [True, False, True]),
        ("INT8", "int_contents", [-128, 0, 127]),
        ("INT16", "int_contents", [-(2**15), 0, 2**15 - 1]),
        ("INT32", "int_contents", [-(2**31), 0, 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 0, 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 1, 255]),
        ("UINT16", "uint_contents", [0, 1, 2**16 - 1]),
        ("UINT32", "uint_contents", [0, 1, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 1, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.5, -1.5, 3.0]),
        ("FP64", "fp64_contents", [0.1, -1e300, 3.0]),
        ("BYTES", "bytes_contents", [b"one", b"", b"\0\xff"]),
    ],
)
def test_typed_contents_of_every_datatype(datatype: str, name: str, values: list[Any]) -> None:
    (tensor,) = asked(given(datatype, [3], **{name: values})).inputs
    assert (tensor.name, tensor.datatype, tensor.data.tolist(), tensor.in_json) == ("x", datatype, values, False)


def test_raw_contents_are_passed_on_in_the_order_of_the_inputs() -> None:
    pixels = np.arange(6, dtype=np.float16).reshape(2, 3)
    tensors = given("FP16", [2, 3]), given("BYTES", [1])
    tensors[1].name = "image"
    request = asked(*tensors, raw_input_contents=[pixels.tobytes(), b"\2\0\0\0ab"], id="seven")
    assert request.id == "seven"
    assert request.binary_output
    np.testing.assert_array_equal(request.inputs[0].data, pixels)
    assert request.inputs[1].data.tolist() == [b"ab"]


def test_outputs_and_their_parameters_are_passed_on() -> None:
    output: Any = message_class("ModelInferRequest.InferRequestedOutputTensor")(name="scores")
    output.parameters["classification"].int64_param = 2
    request = asked(given("FP32", [1], fp32_contents=[1]), outputs=[output])
    (wanted,) = request.outputs
    assert (wanted.name, wanted.binary, wanted.classification) == ("scores", True, 2)


def test_parameters_of_every_type_become_json() -> None:
    import json

    request = Request(inputs=[given("FP32", [1], fp32_contents=[1])])
    request.parameters["flag"].bool_param = False
    request.parameters["count"].int64_param = -3
    request.parameters["text"].string_param = "ä"
    request.parameters["share"].double_param = 0.25
    request.parameters["large"].uint64_param = 2**64 - 1
    request.parameters["none"].SetInParent()
    body, length = http_body(request)
    assert json.loads(body[:length])["parameters"] == {
        "flag": False, "count": -3, "text": "ä", "share": 0.25, "large": 2**64 - 1, "binary_data_output": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "raw", "field", "says"),
    [
        ([given("FP32", [1], fp32_contents=[1])], [b"\0" * 4], "inputs[0].contents", "send one of the two"),
        ([given("FP32", [1])], [b"\0" * 4, b""], "raw_input_contents", "2 entries for 1 inputs"),
        ([given("FP16", [1])], [], "inputs[0].datatype", "send raw_input_contents"),
        ([given("FP32", [1]), given("COLOUR", [1])], [], "inputs[1].datatype", "'COLOUR'"),
        ([given("FP32", [1], fp64_contents=[1])], [], "inputs[0].contents", "fp32_contents is empty"),
        ([given("INT8", [1], int_contents=[300])], [], "inputs[0].contents.int_contents", "300"),
        ([given("UINT16", [1], uint_contents=[2**16])], [], "inputs[0].contents.uint_contents", "65536"),
    ],
)
def test_contents_that_do_not_belong_to_the_inputs_are_refused(
    inputs: list[Any], raw: list[bytes], field: str, says: str
) -> None:
    with pytest.raises(InputError) as refused:
        http_body(Request(inputs=inputs, raw_input_contents=raw))
    assert refused.value.field == field
    assert says in str(refused.value)


def test_an_answer_is_read_by_the_official_client() -> None:
    from tritonclient.grpc import InferResult

    scores = np.array([[0.25, 0.75]], np.float32)
    tensors = [Tensor("scores", "FP32", scores), bytes_tensor("labels", [b"seven"]), bytes_tensor("none", [])]
    body, length = encode_response("digits@int8", tensors, InferRequest((), id="mine", binary_output=True))
    assert length is not None
    sent = infer_response(body, length, "int8").SerializeToString()
    response = official.ModelInferResponse.FromString(sent)
    result = InferResult(response)
    assert (response.model_name, response.model_version, response.id) == ("digits", "int8", "mine")
    np.testing.assert_array_equal(result.as_numpy("scores"), scores)
    assert result.as_numpy("labels").tolist() == [b"seven"]
    assert result.as_numpy("none").tolist() == []
