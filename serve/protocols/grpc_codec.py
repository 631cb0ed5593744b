"""Translates v2's gRPC messages to the body of an HTTP request, and an HTTP answer to a gRPC message.

Both protocols have the same binary form of a tensor, so raw contents are passed on as they are. Each error is an
`InputError` whose `field` is a path in the gRPC message.
"""

import json
from typing import Any

import numpy as np

from serve.protocols import tensor_codec
from serve.protocols.grpc_messages import ModelInferResponse
from serve.protocols.tensor_codec import NUMERIC
from variants.errors import InputError

FIELDS = {
    "BOOL": "bool_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""By datatype: the field of `InferTensorContents` that has its elements. FP16 has none."""


def has_typed_contents(request: Any) -> bool:
    """Whether `http_body` converts each element of a ModelInferRequest, which takes long for a large one."""
    return not request.raw_input_contents


def http_body(request: Any) -> tuple[bytes, int]:
    """The body of the HTTP request that means the same as a ModelInferRequest, and the length in bytes of its JSON.

    All outputs are asked for as binary data. Raises InputError where the contents do not belong to the inputs."""
    chunks = _chunks(request)
    head: dict[str, Any] = {"id": request.id} if request.id else {}
    head["parameters"] = _values(request.parameters) | {"binary_data_output": True}
    head["inputs"] = [
        _described(tensor) | {"parameters": _values(tensor.parameters) | {"binary_data_size": len(chunk)}}
        for tensor, chunk in zip(request.inputs, chunks, strict=True)
    ]
    if request.outputs:
        head["outputs"] = [
            {"name": output.name, "parameters": _values(output.parameters) | {"binary_data": True}}
            for output in request.outputs
        ]
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join([text, *chunks]), len(text)


def infer_response(body: bytes, header_length: int, variant: str) -> Any:
    """The ModelInferResponse of an HTTP answer whose tensors are all binary. `variant` becomes the model's version."""
    head = json.loads(body[:header_length])
    response = ModelInferResponse(model_name=head["model_name"], model_version=variant, id=head.get("id", ""))
    begin = header_length
    for tensor in head["outputs"]:
        end = begin + tensor["parameters"]["binary_data_size"]
        response.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        response.raw_output_contents.append(body[begin:end])
        begin = end
    return response


def _chunks(request: Any) -> list[bytes]:
    """The binary data of each input."""
    typed = [i for i, tensor in enumerate(request.inputs) if tensor.contents.ByteSize()]
    raw = list(request.raw_input_contents)
    if not raw:
        return [_binary(tensor, f"inputs[{i}]") for i, tensor in enumerate(request.inputs)]
    if typed:
        field = f"inputs[{typed[0]}].contents"
        raise InputError("stands beside raw_input_contents", field=field, mend="send one of the two")
    if len(raw) != len(request.inputs):
        message = f"{len(raw)} entries for {len(request.inputs)} inputs"
        raise InputError(message, field="raw_input_contents", mend="one entry for each input")
    return raw


def _binary(tensor: Any, path: str) -> bytes:
    """The elements of a tensor's typed contents in binary form."""
    if tensor.datatype not in FIELDS:
        message = f"{tensor.datatype!r} has no typed contents"
        raise InputError(message, field=f"{path}.datatype", mend="send raw_input_contents")
    name = FIELDS[tensor.datatype]
    elements = list(getattr(tensor.contents, name))
    if not elements and tensor.contents.ByteSize():
        raise InputError(f"{name} is empty", field=f"{path}.contents", mend=f"{tensor.datatype} elements in {name}")
    if tensor.datatype == "BYTES":
        return tensor_codec.to_binary(tensor_codec.objects(elements), "BYTES")
    try:
        return np.array(elements, NUMERIC[tensor.datatype]).tobytes()
    except OverflowError as error:
        mend = f"{tensor.datatype} elements"
        raise InputError(str(error), field=f"{path}.contents.{name}", mend=mend) from None


def _described(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _values(parameters: Any) -> dict[str, Any]:
    """The values of a map of InferParameter; those without a value are left out."""
    chosen = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], choice) for name, choice in chosen.items() if choice}
