"""The gRPC messages of the Open Inference Protocol v2 (package `inference`, service `inference.GRPCInferenceService`).

The message classes are made from the table below when this module is imported, in a descriptor pool of their own.
protobuf's common pool holds each message name once, and the official `tritonclient` registers the same names there.
"""

from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"
PARAMETER, CONTENTS = "InferParameter", "InferTensorContents"
TENSOR = ("string name", "string datatype", "repeated int64 shape")
TENSOR_WITH_DATA = (*TENSOR, "map parameters", f"{CONTENTS} contents")
MODEL = ("string name", "string version")
MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready",),
    "ModelReadyRequest": MODEL,
    "ModelReadyResponse": ("bool ready",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (*MODEL, "repeated string extensions"),
    "ModelMetadataRequest": MODEL,
    "ModelMetadataResponse": (
        "string name", "repeated string versions", "string platform",
        "repeated ModelMetadataResponse.TensorMetadata inputs", "repeated ModelMetadataResponse.TensorMetadata outputs",
    ),
    "ModelMetadataResponse.TensorMetadata": TENSOR,
    PARAMETER: ("bool bool_param", "int64 int64_param", "string string_param", "double double_param",
                "uint64 uint64_param"),
    CONTENTS: (
        "repeated bool bool_contents", "repeated int32 int_contents", "repeated int64 int64_contents",
        "repeated uint32 uint_contents", "repeated uint64 uint64_contents", "repeated float fp32_contents",
        "repeated double fp64_contents", "repeated bytes bytes_contents",
    ),
    "ModelInferRequest": (
        "string model_name", "string model_version", "string id", "map parameters",
        "repeated ModelInferRequest.InferInputTensor inputs",
        "repeated ModelInferRequest.InferRequestedOutputTensor outputs", "repeated bytes raw_input_contents",
    ),
    "ModelInferRequest.InferInputTensor": TENSOR_WITH_DATA,
    "ModelInferRequest.InferRequestedOutputTensor": ("string name", "map parameters"),
    "ModelInferResponse": (
        "string model_name", "string model_version", "string id", "map parameters",
        "repeated ModelInferResponse.InferOutputTensor outputs", "repeated bytes raw_output_contents",
    ),
    "ModelInferResponse.InferOutputTensor": TENSOR_WITH_DATA,
}  # fmt: skip
"""By name: the fields as in a .proto file, numbered from 1 in this order. A `map` has `InferParameter`s."""
ONEOF = {PARAMETER: "parameter_choice"}
"""Messages of which one field at a time is set, and the name of the choice."""

SCALARS = frozenset(FieldDescriptorProto.Type.keys())


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="understudy/open_inference.proto", package=PACKAGE, syntax="proto3")
    by_name: dict[str, DescriptorProto] = {}
    for path, fields in MESSAGES.items():
        outer, _, name = path.rpartition(".")
        message = by_name[outer].nested_type.add() if outer else file.message_type.add()
        message.name = name
        by_name[path] = message
        if path in ONEOF:
            message.oneof_decl.add(name=ONEOF[path])
        for number, words in enumerate(fields, start=1):
            _add_field(message, path, number, words)
    return file


def _add_field(message: DescriptorProto, path: str, number: int, words: str) -> None:
    *repeated, kind, name = words.split()
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if repeated or kind == "map" else field.LABEL_OPTIONAL
    if path in ONEOF:
        field.oneof_index = 0
    if kind == "map":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field(entry, "", 1, "string key")
        _add_field(entry, "", 2, f"{PARAMETER} value")
        kind = f"{path}.ParametersEntry"
    scalar = f"TYPE_{kind.upper()}"
    if scalar in SCALARS:
        field.type = FieldDescriptorProto.Type.Value(scalar)
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


POOL = descriptor_pool.DescriptorPool()
POOL.AddSerializedFile(_described().SerializeToString())


def message_class(name: str) -> Any:
    """The class of a message of the table. Raises KeyError for another name."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ModelInferResponse = message_class("ModelInferResponse")
