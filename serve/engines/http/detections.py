"""The detection engines' HTTP routes: Open Inference Protocol v2 for one detector, and `/health`.

One image a request, because each has another number of boxes."""

import numpy as np
from starlette.applications import Starlette

from serve.engines.base import DetectionModel
from serve.engines.http.images import image_files
from serve.engines.http.tensors import Port, ThreadedApi, application
from serve.protocols.open_inference import InferRequest, Tensor, bytes_tensor
from variants.errors import InputError
from variants.vision.boxes import Box

INPUTS = (Port("image", "BYTES", (1,)),)
OUTPUTS = (Port("boxes", "FP32", (-1, 4)), Port("scores", "FP32", (-1,)), Port("labels", "BYTES", (-1,)))


def build(model: DetectionModel, name: str) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    return application(DetectionApi(model, name))


class DetectionApi(ThreadedApi[DetectionModel]):
    """The routes of one detector."""

    def __init__(self, model: DetectionModel, name: str) -> None:
        super().__init__(model, name, INPUTS, OUTPUTS)
        self.images = 0

    def counted(self) -> tuple[int, int]:
        return self.images, self.images

    def tensors(self, asked: InferRequest) -> tuple[Tensor, ...]:
        if len(asked.inputs) != 1 or asked.inputs[0].name != "image":
            names = ", ".join(tensor.name for tensor in asked.inputs)
            raise InputError(f"{names}", field="inputs", mend="one tensor, `image` (BYTES)")
        files = image_files(asked.inputs[0])
        if len(files) != 1:
            raise InputError(f"{len(files)} images", field="inputs[0].shape", mend="one image a request")
        boxes = self.model.find(files[0], "inputs[0].data[0]", self.gone)
        self.images += 1
        return outputs_of(boxes)


def outputs_of(boxes: list[Box]) -> tuple[Tensor, ...]:
    """`boxes` FP32 [n, 4]: left, top, right, bottom in pixels of the image that was sent; `scores` FP32 [n]; `labels`
    BYTES [n]; n may be 0."""
    corners = np.array([box[1:5] for box in boxes], np.float32).reshape(-1, 4)
    return (
        Tensor("boxes", "FP32", corners),
        Tensor("scores", "FP32", np.array([box.score for box in boxes], np.float32)),
        bytes_tensor("labels", (box.label.encode() for box in boxes)),
    )
