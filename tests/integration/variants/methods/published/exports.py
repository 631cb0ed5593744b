"""Models as other programs write them: OpenVINO IR by openvino and nncf, ONNX by torch or byte by byte."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest

Arrays = Mapping[str, npt.NDArray[Any]]
Settings = Mapping[str, str | int]
NONE: Settings = {}
BERT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
INT64 = 7


def write_onnx(model: Any, example: tuple[Any, ...], path: Path, names: Sequence[str], output: str) -> Path:
    """By torch's exporter, with a dynamic first dimension, and a dynamic second one for token ids."""
    import torch
    from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

    path.parent.mkdir(parents=True, exist_ok=True)
    dynamic = {
        name: {0: "batch"} | ({1: "length"} if each.ndim == 2 else {})
        for name, each in zip(names, example, strict=True)
    }
    with pytest.MonkeyPatch.context() as patch:
        # It needs the package `onnx`, which is not installed, only to add functions of onnxscript. There are none.
        patch.setattr(onnx_proto_utils, "_add_onnxscript_fn", lambda model_bytes, _: model_bytes)
        torch.onnx.export(
            model, example, path, dynamo=False, input_names=list(names), output_names=[output],
            dynamic_axes=dynamic | {output: {0: "batch"}}, opset_version=17,
        )  # fmt: skip
    return path


def module_of(inner: Any, compute: Callable[..., Any]) -> Any:
    """A module of torch that computes `compute(inner, *inputs)`."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return compute(self.inner, *inputs)

    return Module().eval()


def bert_example() -> tuple[Any, ...]:
    import torch

    ids = torch.tensor([[2, 5, 6, 3], [2, 9, 10, 3]])
    return ids, torch.ones_like(ids), torch.zeros_like(ids)


def bert_graph(model: Any) -> ov.Model:
    """The three inputs of a BERT and its one output, both dynamic, converted by openvino."""
    return ov.convert_model(model, example_input=dict(zip(BERT_INPUTS, bert_example(), strict=True)))


def write_ir(model: ov.Model, folder: Path, *, fp16: bool = False) -> Path:
    folder.mkdir(parents=True)
    ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=fp16)
    return folder


def alone(path: Path, executes: str, arrays: Arrays, settings: Settings = NONE) -> npt.NDArray[np.float32]:
    """The first output of a file, by OpenVINO alone."""
    model = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": executes, **settings})
    known = {name for port in model.inputs for name in port.names}
    return np.array(model({name: array for name, array in arrays.items() if name in known})[0], np.float32)


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    """A message of protocol buffers."""
    written = b""
    for number, value in fields:
        if isinstance(value, int):
            written += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            written += varint(number << 3 | 2) + varint(len(data)) + data
    return written


def varint(value: int) -> bytes:
    written = b""
    while value > 127:
        written, value = written + bytes([value & 127 | 128]), value >> 7
    return written + bytes([value])


def tiny_onnx(operator: str, opset: int = 17, domain: str = "", weights: bytes = b"") -> bytes:
    """y = operator(x, w), float32 [2, 4] and [4, 4]. Without `weights`, they are said to lie in `weights.data`."""

    def tensor_info(name: str, *dims: int) -> bytes:
        shape = message(*((1, message((1, dim))) for dim in dims))
        return message((1, name), (2, message((1, message((1, 1), (2, shape))))))

    where: tuple[int, bytes | str | int] = (9, weights)
    if not weights:
        where = (13, message((1, "location"), (2, "weights.data")))
    constant = message((1, 4), (1, 4), (2, 1), (8, "w"), where, *([] if weights else [(14, 1)]))
    node = message((1, "x"), (1, "w"), (2, "y"), (4, operator), (7, domain))
    graph = message(
        (1, node), (2, "g"), (5, constant), (11, tensor_info("x", 2, 4)), (12, tensor_info("y", 2, 4))
    )  # fmt: skip
    opsets = [message((1, ""), (2, opset))] + ([message((1, domain), (2, 1))] if domain else [])
    return message((1, 8), (7, graph), *((8, each) for each in opsets))
