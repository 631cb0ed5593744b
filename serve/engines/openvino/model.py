"""An OpenVINO IR, compiled for a CPU in the precision that its manifest names.

OpenVINO would run an f32 model in bf16 where the CPU is faster at it. So the precision is always given:

    f32, bf16      as they are
    f16            f32 on a CPU without float16; OpenVINO by itself would take bf16 and round once more
    int8           bf16 for all that is not quantized, f32 on a CPU without bf16
    int8-dynamic   f32 for all that is not quantized, as the plug-in's dynamic quantization needs; all f32 without VNNI
    int4           as int8-dynamic

A pass can be cancelled between two layers. Where shapes vary, the layers that were not reached then hold the output
shapes of the cancelled pass. But OpenVINO compares the next input with that of the last whole pass. If these two are
equal, the shapes stay, and the answer has rows of the cancelled pass. So a small pass of other shapes follows at once.

OpenVINO keeps a kernel for each new shape, up to 5,000 of them. An int8 encoder that read texts of every length grew to
1.6 GB, so a model whose shapes vary gets a bound.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from serve.errors import ClientLeft
from variants.errors import EngineError

EXECUTES = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "bf16", "int8-dynamic": "f32", "int4": "f32"}
GROUP = 32
"""Neighbouring activations of one token that share a scale in dynamic int8."""
LOOK_MS = 10
"""Between two looks at whether the client has gone. The end of the computing is seen at once, and a pass costs about
10 microseconds more."""
KERNELS = 128
"""Kept for later of a model whose shapes vary: 0.6 GB for MiniLM in int8, and no slower than 5,000 of them."""

Arrays = tuple[npt.NDArray[Any], ...]
Shapes = list[tuple[int, ...]]


class Compiled:
    """A compiled model with one output, asked one thing at a time."""

    platform = "openvino"

    def __init__(self, path: Path, precision: str, threads: int, *, shapes_vary: bool = False) -> None:
        """Raises EngineError where the precision is none that this engine does, or the file is no model."""
        self.executes, self.request = compiled(str(path), precision, threads, shapes_vary=shapes_vary)
        self.inputs = self.request.get_compiled_model().inputs
        self.last: Shapes = [()] * len(self.inputs)
        self.computed_ns = 0

    def run(
        self, *values: npt.NDArray[Any], gone: threading.Event | None = None, **named: npt.NDArray[Any]
    ) -> npt.NDArray[np.float32]:
        """The output for inputs in the model's order, or by name; valid until the next. Raises ClientLeft soon after
        `gone` is set, with the layer that is computed."""
        arrays = values or tuple(named[port.any_name] for port in self.inputs)
        arrays = tuple(np.require(array, requirements=("C", "W")) for array in arrays)
        self.share(arrays)  # OpenVINO does not keep alive what it shares: `arrays` does
        if gone is None:
            self.request.infer()
        else:
            self.infer_until(gone, arrays)
        self.last = [array.shape for array in arrays]
        self.computed_ns += int(self.request.latency * 1e6)
        output: npt.NDArray[np.float32] = self.request.get_output_tensor().data
        return output

    def share(self, arrays: Arrays) -> None:
        for port, array in zip(self.inputs, arrays, strict=True):
            self.request.set_tensor(port, openvino.Tensor(array, shared_memory=True))

    def infer_until(self, gone: threading.Event, arrays: Arrays) -> None:
        """Compute what the request was given. Raises ClientLeft."""
        self.request.start_async()
        while not self.request.wait_for(LOOK_MS):
            if gone.is_set():
                self.request.cancel()
                with suppress(RuntimeError):  # OpenVINO's way to say that it was cancelled
                    self.request.wait()
                self.settle([array.shape for array in arrays])
                raise ClientLeft("the client left before its request was computed")

    def settle(self, cancelled: Shapes) -> None:
        """Give every layer its shapes anew after a cancelled pass, by a pass whose varying dimensions all differ from
        those of that pass and of the last whole one. Dimensions of 0 would be cheaper, but do not reach all layers."""
        if not any(port.partial_shape.is_dynamic for port in self.inputs):
            return
        arrays = []
        for port, last, size in zip(self.inputs, self.last, cancelled, strict=True):
            used = [{at[i] for at in (last, size) if at} for i in range(len(size))]
            shape = [
                next(small for small in (1, 2, 3) if small not in used[i]) if dimension.is_dynamic else size[i]
                for i, dimension in enumerate(port.partial_shape)
            ]
            arrays.append(np.ones(shape, port.element_type.to_dtype()))
        self.share(tuple(arrays))
        self.request.infer()
        self.last = [array.shape for array in arrays]


def compiled(
    path: str, precision: str, threads: int, *, shapes_vary: bool = False
) -> tuple[str, openvino.InferRequest]:
    """What the model at `path` really executes in, and a request to it, the only one: it computes on `threads` threads.

    Raises EngineError where the precision is none that this engine does, or the file is no model."""
    if precision not in EXECUTES:
        raise EngineError(f"{precision!r}", field="manifest.precision", mend=", ".join(EXECUTES))
    core = openvino.Core()
    hint = EXECUTES[precision]
    if hint == "f16" and "FP16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hint = "f32"
    settings: dict[str, str | int | bool] = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    if precision in ("int8-dynamic", "int4"):
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = GROUP
    if shapes_vary:
        settings["CPU_RUNTIME_CACHE_CAPACITY"] = KERNELS
    try:
        model = core.compile_model(core.read_model(path), "CPU", settings)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot load it: {error}", field=path, mend="build it again") from None
    return str(model.get_property("INFERENCE_PRECISION_HINT").to_string()), model.create_infer_request()
