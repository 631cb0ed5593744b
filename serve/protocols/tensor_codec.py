"""Converts the elements of v2 tensors between numpy, JSON lists and binary data.

Pure functions; `open_inference.py` has the messages. Both directions are exact: a number that its datatype cannot hold
is refused, not wrapped. Errors are `InputError`s whose field starts with `path`, the tensor's path in the message.
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
ELEMENTS: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int, bool), "u": (int, bool), "f": (float, int, bool)}
"""Allowed types of JSON elements, by the kind of the numpy dtype."""


def objects(elements: Iterable[bytes]) -> Array:
    """The elements as an object array of shape [n] (numpy removes trailing zero bytes from `S` arrays)."""
    listed = list(elements)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def from_json(data: Any, datatype: str, shape: list[int], path: str) -> Array:
    """Elements from a flat or nested list, in row-major order."""
    if not isinstance(data, list):
        raise InputError("not a list", field=f"{path}.data", mend="the elements in row-major order")
    text = datatype == "BYTES"
    try:
        # As objects first, because numpy pads strings to the longest one. Nesting beyond numpy's dimensions leaves a
        # list as an element, which is refused.
        elements = np.asarray(data, dtype=object).ravel().tolist()
        wrong = set(map(type, elements)) - set((str,) if text else ELEMENTS[NUMERIC[datatype].kind])
        if wrong:
            raise ValueError(f"not all {datatype}: {', '.join(sorted(kind.__name__ for kind in wrong))}")
        with np.errstate(over="raise"):
            array = objects(map(str.encode, elements)) if text else np.array(elements, NUMERIC[datatype])
    except (ValueError, ArithmeticError) as error:  # ValueError includes text that is not valid UTF-8
        mend = "strings; base64 where an element is binary" if text else f"{datatype} elements"
        raise InputError(str(error).split(". ")[0], field=f"{path}.data", mend=mend) from None
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
    return _shaped(np.frombuffer(data, dtype), shape, path)


def _length_prefixed(data: memoryview, path: str) -> Array:
    elements: list[bytes] = []
    while data:
        length = int.from_bytes(data[:4], "little")
        if len(data) < 4 + length:
            raise InputError(
                f"element {len(elements)} is cut off: {length} bytes announced, {max(len(data) - 4, 0)} left",
                field=path,
                mend="each BYTES element after its length in 4 bytes, little-endian",
            )
        elements.append(bytes(data[4 : 4 + length]))
        data = data[4 + length :]
    return objects(elements)


def _shaped(array: Array, shape: list[int], path: str) -> Array:
    if array.size != math.prod(shape):
        raise InputError(
            f"{shape} has {math.prod(shape)} elements, {array.size} were sent",
            field=f"{path}.shape",
            mend="send as many elements as the shape has",
        )
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError) as error:  # too many dimensions, or one too long beside a dimension of 0
        raise InputError(str(error), field=f"{path}.shape", mend="fewer or shorter dimensions") from None


def to_binary(data: Array, datatype: str) -> bytes:
    """The elements in the binary extension's form, row-major."""
    if datatype != "BYTES":
        return data.astype(NUMERIC[datatype], copy=False).tobytes()
    return b"".join(len(element).to_bytes(4, "little") + element for element in data.ravel())
