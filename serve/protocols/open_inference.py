"""Messages of the Open Inference Protocol v2, in JSON and with the binary tensor extension.

Pure functions from bytes to values, without HTTP, models or images. Requests and answers have the same form, so one
parser reads both. Each error is an `InputError` whose `field` is a path in the message (`inputs[0].shape`).

BYTES elements are text in JSON, and length-prefixed (4 bytes, little-endian) in binary. Text cannot hold every byte, so
by this project's convention a binary element (an image) is base64 in JSON. The protocol does not mark base64, so code
that expects binary data checks `Tensor.in_json`.
"""

import json
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from serve.protocols import tensor_codec
from serve.protocols.tensor_codec import DATATYPES, Array
from variants.errors import InputError

HEADER_LENGTH = "inference-header-content-length"
LENGTH_DIGITS = 20
"""Limit of digits in the header length, because `int` fails for thousands of digits."""
DIMENSIONS = 64
"""Limit of a tensor's dimensions, the same as numpy's."""


@dataclass(frozen=True)
class Tensor:
    """One named tensor. `data` has the datatype's dtype and the tensor's shape; BYTES are `bytes` in an object array.

    `in_json`: the elements were sent as JSON, not as binary."""

    name: str
    datatype: str
    data: Array
    in_json: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the client requested. `binary` is None where the request's default applies. `classification` asks
    for that many highest values per example in place of the tensor (Triton's extension)."""

    name: str
    binary: bool | None = None
    classification: int | None = None


@dataclass(frozen=True)
class InferRequest:
    """An infer request. `binary_output` is the default for outputs without their own `binary`."""

    inputs: tuple[Tensor, ...]
    id: str | None = None
    outputs: tuple[RequestedOutput, ...] = ()
    binary_output: bool = False

    def wants_binary(self, output: str) -> bool:
        for requested in self.outputs:
            if requested.name == output and requested.binary is not None:
                return requested.binary
        return self.binary_output


class Outputs(msgspec.Struct):
    """What is read of an answer, where only some of its outputs are wanted."""

    outputs: list[dict[str, msgspec.Raw]]


def parse_request(body: bytes, header_length: str | int | None = None) -> InferRequest:
    """Parse an infer request from its body and, for the binary extension, its Inference-Header-Content-Length."""
    head, binary = _split(body, header_length)
    outputs = given(head, "outputs", [])
    if not isinstance(outputs, list):
        raise InputError("is not a list", field="outputs", mend='[{"name": ...}], or leave it out for all')
    parameters = _parameters(head, "parameters")
    return InferRequest(
        inputs=_tensors(head, "inputs", binary),
        id=_id(head),
        outputs=tuple(_requested_output(entry, f"outputs[{i}]") for i, entry in enumerate(outputs)),
        binary_output=_flag(parameters, "binary_data_output", "parameters") or False,
    )


def parse_response(
    body: bytes, header_length: str | int | None = None, names: Container[str] | None = None
) -> dict[str, Array]:
    """The outputs of an infer answer, by name. `names`: of outputs in JSON only these are read, because the others may
    be long."""
    head, binary = _split(body, header_length, json.loads if names is None else partial(_only, names=names))
    if names is not None and head.get("outputs") == []:
        return {}
    return {tensor.name: tensor.data for tensor in _tensors(head, "outputs", binary)}


def _only(text: bytes, names: Container[str]) -> Any:
    """The head of an answer without the JSON outputs of other names, of which no objects are made."""
    try:
        outputs = msgspec.json.decode(text, type=Outputs).outputs
    except msgspec.MsgspecError:  # it holds NaN or Infinity, which msgspec does not read
        return json.loads(text)
    wanted = [each for each in outputs if "data" not in each or msgspec.json.decode(each["name"]) in names]
    return {"outputs": [{key: msgspec.json.decode(value) for key, value in each.items()} for each in wanted]}


def encode_request(
    tensors: Sequence[Tensor],
    *,
    binary: bool,
    binary_output: bool = False,
    request_id: str | None = None,
    outputs: Sequence[RequestedOutput] = (),
) -> tuple[bytes, int | None]:
    """The body of an infer request and its header length (None without the binary extension)."""
    head: dict[str, Any] = {"id": request_id} if request_id is not None else {}
    if outputs:
        head["outputs"] = [_requested_entry(output) for output in outputs]
    if binary_output:
        head["parameters"] = {"binary_data_output": True}
    return _encode(head, "inputs", tensors, {t.name for t in tensors} if binary else set())


def _requested_entry(output: RequestedOutput) -> dict[str, Any]:
    parameters = {"binary_data": output.binary, "classification": output.classification}
    return {"name": output.name, "parameters": {key: value for key, value in parameters.items() if value is not None}}


def encode_response(model: str, tensors: Iterable[Tensor], request: InferRequest) -> tuple[bytes, int | None]:
    """The body of the answer to `request` and its header length (None when no output is binary). `model` is
    `model@variant`; the protocol calls the variant the model's version.

    Outputs that are not requested are omitted. Raises InputError for a requested output that does not exist."""
    by_name = {tensor.name: tensor for tensor in tensors}
    wanted = [requested.name for requested in request.outputs] or list(by_name)
    for i, name in enumerate(wanted):
        if name not in by_name:
            raise InputError(f"no output {name!r}", field=f"outputs[{i}].name", mend=f"one of {', '.join(by_name)}")
    name, _, version = model.partition("@")
    head: dict[str, Any] = {"model_name": name} | ({"model_version": version} if version else {})
    if request.id is not None:
        head["id"] = request.id
    return _encode(head, "outputs", [by_name[name] for name in wanted], {n for n in wanted if request.wants_binary(n)})


def bytes_tensor(name: str, elements: Iterable[bytes]) -> Tensor:
    """A BYTES tensor of shape [n]."""
    return Tensor(name, "BYTES", tensor_codec.objects(elements))


def head_length(body: bytes, header_length: str | int | None) -> int:
    """The length of the JSON part of a body in bytes. Raises InputError for a header that does not fit it."""
    if header_length is None:
        return len(body)
    text = str(header_length)
    if not text.isdecimal() or len(text) > LENGTH_DIGITS or not 0 < int(text) <= len(body):
        raise InputError(
            f"is {text!r:.80} and the body has {len(body)} bytes",
            field="Inference-Header-Content-Length",
            mend="the length of the JSON part in bytes",
        )
    return int(text)


def _split(
    body: bytes, header_length: str | int | None, read: Callable[[bytes], Any] = json.loads
) -> tuple[dict[str, Any], memoryview]:
    """The JSON head and the binary data after it."""
    length = head_length(body, header_length)
    try:
        head = read(body[:length])
    except (ValueError, LookupError, RecursionError) as error:  # ValueError includes what the parsers raise
        raise InputError(f"not JSON: {error}", field="body", mend='{"inputs": [...]}') from None
    if not isinstance(head, dict):
        raise InputError(f"a {type(head).__name__}, not an object", field="body", mend='{"inputs": [...]}')
    return head, memoryview(body)[length:]


def _tensors(head: dict[str, Any], key: str, binary: memoryview) -> tuple[Tensor, ...]:
    entries = head.get(key)
    if not isinstance(entries, list) or not entries:
        mend = '[{"name", "shape", "datatype", "data"}]'
        raise InputError("missing" if entries is None else "not a list with at least one tensor", field=key, mend=mend)
    tensors: list[Tensor] = []
    for i, entry in enumerate(entries):
        tensor, binary = _tensor(entry, f"{key}[{i}]", binary)
        if any(other.name == tensor.name for other in tensors):
            raise InputError(f"{tensor.name!r} appears twice", field=f"{key}[{i}].name", mend="use each name once")
        tensors.append(tensor)
    if binary:
        raise InputError(
            f"{len(binary)} bytes belong to no tensor", field=key, mend="a binary_data_size that covers them"
        )
    return tuple(tensors)


def _tensor(entry: Any, path: str, binary: memoryview) -> tuple[Tensor, memoryview]:
    """One tensor and the rest of the binary data."""
    if not isinstance(entry, dict):
        raise InputError("not an object", field=path, mend='{"name", "shape", "datatype", "data"}')
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not name:
        raise InputError("missing or not text", field=f"{path}.name", mend="the tensor's name")
    if datatype not in DATATYPES:
        raise InputError(
            f"unknown datatype {datatype!r}", field=f"{path}.datatype", mend=f"one of {', '.join(DATATYPES)}"
        )
    if (
        not isinstance(shape, list)
        or len(shape) > DIMENSIONS
        or not all(type(n) is int and 0 <= n < 2**63 for n in shape)
    ):
        raise InputError(
            f"{shape!r:.80} is not a shape",
            field=f"{path}.shape",
            mend=f"a list of at most {DIMENSIONS} whole numbers, none below 0 or above 64 bits",
        )
    size = _parameters(entry, f"{path}.parameters").get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise InputError("missing", field=f"{path}.data", mend="the elements, or parameters.binary_data_size")
        return Tensor(
            name, datatype, tensor_codec.from_json(entry["data"], datatype, shape, path), in_json=True
        ), binary
    if type(size) is not int or not 0 <= size <= len(binary):
        raise InputError(
            f"{size!r} bytes announced, {len(binary)} left in the body",
            field=f"{path}.parameters.binary_data_size",
            mend="the number of bytes sent for this tensor",
        )
    return Tensor(name, datatype, tensor_codec.from_binary(binary[:size], datatype, shape, path)), binary[size:]


def _encode(head: dict[str, Any], key: str, tensors: Sequence[Tensor], binary: set[str]) -> tuple[bytes, int | None]:
    entries, chunks = [], []
    for tensor in tensors:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if tensor.name in binary:
            raw = tensor_codec.to_binary(tensor.data, tensor.datatype)
            entry["parameters"] = {"binary_data_size": len(raw)}
            chunks.append(raw)
        elif tensor.datatype == "BYTES":
            entry["data"] = [element.decode() for element in tensor.data.ravel()]
        else:
            entry["data"] = tensor.data.ravel().tolist()
        entries.append(entry)
    text = json.dumps({**head, key: entries}, separators=(",", ":")).encode()
    return (text + b"".join(chunks), len(text)) if chunks else (text, None)


def _requested_output(entry: Any, path: str) -> RequestedOutput:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InputError("no name", field=path, mend='{"name": ...}')
    parameters = _parameters(entry, f"{path}.parameters")
    count = parameters.get("classification")
    if count is not None and (type(count) is not int or count < 1):
        raise InputError(
            f"{count!r} is not a count", field=f"{path}.parameters.classification", mend="a whole number from 1"
        )
    return RequestedOutput(entry["name"], _flag(parameters, "binary_data", f"{path}.parameters"), count)


def given(entry: dict[str, Any], name: str, otherwise: Any) -> Any:
    """A field that may be left out; null says the same as leaving it out."""
    value = entry.get(name)
    return otherwise if value is None else value


def _parameters(entry: dict[str, Any], path: str) -> dict[str, Any]:
    parameters = given(entry, "parameters", {})
    if not isinstance(parameters, dict):
        raise InputError("not an object", field=path, mend="{...}, or leave it out")
    return parameters


def _flag(parameters: dict[str, Any], name: str, path: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{value!r} is not a boolean", field=f"{path}.{name}", mend="true or false")
    return value


def _id(head: dict[str, Any]) -> str | None:
    value = head.get("id")
    if value is not None and not isinstance(value, str):
        raise InputError(f"{value!r} is not text", field="id", mend="a string, or leave it out")
    return value
