"""The elements of v2 tensors: JSON lists and binary data from and to numpy.

Pure; the messages around them are in `open_inference.py`. Both directions are exact: a number that its
datatype cannot hold is refused, not wrapped. Errors are `InputError`s whose field starts with `path`, the
tensor's place in the message.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from variants.errors import InputError

Array = npt.NDArray[Any]
_INTEGERS = {"INT": "i", "UINT": "u"}
NUMERIC: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"{n}{bits}": np.dtype(f"<{k}{bits // 8}") for n, k in _INTEGERS.items() for bits in (8, 16, 32, 64)},
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*NUMERIC, "BYTES")


def objects(elements: Iterable[bytes]) -> Array:
    """The elements as an object array of shape [n] (numpy would cut trailing zeros off `S` arrays)."""
    listed = list(elements)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def from_json(data: Any, datatype: str, shape: list[int], path: str) -> Array:
    """Elements given flat or nested, row-major either way."""
    if not isinstance(data, list):
        raise InputError("not a list", field=f"{path}.data", mend="the elements in row-major order")
    if datatype == "BYTES":
        flat = _flat(data)
        if not all(isinstance(element, str) for element in flat):
            raise InputError("not all text", field=f"{path}.data", mend="strings; base64 where an element is binary")
        return _shaped(objects(element.encode() for element in flat), shape, path)
    try:
        numbers = np.asarray(data)
        if datatype == "BOOL" and numbers.dtype != np.bool_ and numbers.size:
            raise ValueError("not all true or false")
        if numbers.dtype.kind not in "biuf":
            raise ValueError("not all numbers")
        if NUMERIC[datatype].kind in "iu" and numbers.dtype.kind == "f" and numbers.size:
            raise ValueError("not all whole numbers")
        array = numbers.astype(NUMERIC[datatype])
        if NUMERIC[datatype].kind in "iu" and not np.array_equal(array, numbers):
            raise ValueError("a number is out of range")
    except (ValueError, OverflowError) as error:
        raise InputError(str(error).split(". ")[0], field=f"{path}.data", mend=f"{datatype} elements") from None
    return _shaped(array, shape, path)


def from_binary(data: memoryview, datatype: str, shape: list[int], path: str) -> Array:
    if datatype == "BYTES":
        return _shaped(_length_prefixed(data, path), shape, path)
    dtype = NUMERIC[datatype]
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise InputError(
            f"{len(data)} bytes, and {datatype} {shape} takes {math.prod(shape) * dtype.itemsize}",
            field=f"{path}.parameters.binary_data_size",
            mend="a shape and a size that agree",
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _length_prefixed(data: memoryview, path: str) -> Array:
    elements: list[bytes] = []
    while data:
        length = int.from_bytes(data[:4], "little")
        if len(data) < 4 + length:
            raise InputError(
                f"element {len(elements)} is cut off: {length} bytes announced, {max(len(data) - 4, 0)} left",
                field=path,
                mend="each BYTES element behind its length in 4 bytes, little-endian",
            )
        elements.append(bytes(data[4 : 4 + length]))
        data = data[4 + length :]
    return objects(elements)


def _shaped(array: Array, shape: list[int], path: str) -> Array:
    if array.size != math.prod(shape):
        raise InputError(
            f"{shape} has {math.prod(shape)} elements, {array.size} were sent",
            field=f"{path}.shape",
            mend="as many",
        )
    return array.reshape(shape)


def _flat(data: list[Any]) -> list[Any]:
    return [leaf for item in data for leaf in (_flat(item) if isinstance(item, list) else [item])]


def to_binary(data: Array, datatype: str) -> bytes:
    """The elements as the binary extension carries them, row-major."""
    if datatype != "BYTES":
        return data.astype(NUMERIC[datatype], copy=False).tobytes()
    return b"".join(len(element).to_bytes(4, "little") + element for element in data.ravel())
