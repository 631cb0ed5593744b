"""The image engines' HTTP routes: Open Inference Protocol v2 for one classifier, and `/health`.

Everything but the forward pass: tensors, decoding and normalising images as the manifest says, errors."""

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from starlette.applications import Starlette

from serve.engines.base import Floats, ImageModel
from serve.engines.http.tensors import Port, ThreadedApi, application
from serve.protocols.open_inference import InferRequest, Tensor, bytes_tensor
from variants.errors import InputError
from variants.vision.picture import FILES, check_total
from variants.vision.preprocess import pixels_of

SLICE = 32
"""Images computed at once; longer requests are cut, so that memory does not grow with them."""


def build(model: ImageModel, name: str) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    return application(ImageApi(model, name))


class ImageApi(ThreadedApi[ImageModel]):
    """The routes of one classifier."""

    ranked = "scores"

    def __init__(self, model: ImageModel, name: str) -> None:
        inputs = Port("image", "BYTES", (-1,)), Port("pixels", "FP32", (-1, 3, *model.preprocess.size))
        outputs = Port("scores", "FP32", (-1, len(model.labels))), Port("labels", "BYTES", (-1,))
        super().__init__(model, name, inputs, outputs)
        self.images = self.passes = 0

    def counted(self) -> tuple[int, int]:
        return self.images, self.passes

    def tensors(self, asked: InferRequest) -> tuple[Tensor, ...]:
        scores = self.scores(asked)
        top = (self.model.labels[i].encode() for i in scores.argmax(axis=1))
        count = next((output.classification for output in asked.outputs if output.classification), None)
        first = ranking(scores, self.model.labels, count) if count else Tensor("scores", "FP32", scores)
        return first, bytes_tensor("labels", top)

    def scores(self, asked: InferRequest) -> Floats:
        """Probabilities [B, C]. Raises InputError naming the tensor."""
        if len(asked.inputs) != 1 or asked.inputs[0].name not in ("image", "pixels"):
            names = ", ".join(tensor.name for tensor in asked.inputs)
            raise InputError(f"{names}", field="inputs", mend="one tensor, `image` (BYTES) or `pixels` (FP32)")
        tensor = asked.inputs[0]
        if tensor.name == "pixels":
            self.check_pixels(tensor)
            pixels = tensor.data
            slices = [pixels[i : i + SLICE] for i in range(0, len(pixels), SLICE)]
            return np.concatenate([self.predict(part) for part in slices])
        files = image_files(tensor)
        if len(files) > 1:
            check_total(self.while_awaited(files), "inputs[0].data")
        scores = []
        for start in range(0, len(files), SLICE):
            part = self.while_awaited(files[start : start + SLICE])
            decoded = [
                pixels_of(file, self.model.preprocess, f"inputs[0].data[{start + i}]") for i, file in enumerate(part)
            ]
            scores.append(self.predict(np.stack(decoded)))
        return np.concatenate(scores)

    def predict(self, pixels: Floats) -> Floats:
        """The forward pass, counted. Raises ClientLeft instead where nobody waits for it any more."""
        self.check_awaited()
        self.passes += 1
        self.images += len(pixels)
        return self.model.predict(pixels, self.gone)

    def check_pixels(self, tensor: Tensor) -> None:
        height, width = self.model.preprocess.size
        mend = f"FP32 of shape [B, 3, {height}, {width}] with B at least 1"
        if tensor.datatype != "FP32":
            raise InputError(f"pixels are {tensor.datatype}", field="inputs[0].datatype", mend=mend)
        if tensor.data.ndim != 4 or tensor.shape[1:] != (3, height, width) or not len(tensor.data):
            raise InputError(f"pixels have shape {list(tensor.shape)}", field="inputs[0].shape", mend=mend)
        if not np.isfinite(tensor.data).all():
            raise InputError("not all finite", field="inputs[0].data", mend="numbers, none of them NaN or infinite")


def image_files(tensor: Tensor) -> list[bytes]:
    """The files of an `image` tensor; in JSON each is base64 text."""
    mend = f"BYTES of shape [B] with B at least 1, each {FILES}"
    if tensor.datatype != "BYTES":
        raise InputError(f"image is {tensor.datatype}", field="inputs[0].datatype", mend=mend)
    if tensor.data.ndim != 1 or not len(tensor.data):
        raise InputError(f"image has shape {list(tensor.shape)}", field="inputs[0].shape", mend=mend)
    if not tensor.in_json:
        return list(tensor.data)
    files = []
    for i, text in enumerate(tensor.data):
        try:
            files.append(base64.b64decode(text, validate=True))
        except binascii.Error as error:
            raise InputError(
                f"not base64: {error}", field=f"inputs[0].data[{i}]", mend=f"{FILES}, as base64 text"
            ) from None
    return files


def ranking(scores: Floats, labels: Sequence[str], count: int) -> Tensor:
    """The best `count` of each row of [B, C], or all, as v2's classification extension has them: "score:index:label",
    best first, the first of equals; BYTES [B, min(count, C)]."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    rows = ((row[i], i) for row, order in zip(scores, best, strict=True) for i in order)
    listed = bytes_tensor("scores", (f"{score:f}:{i}:{labels[i]}".encode() for score, i in rows))
    return Tensor("scores", "BYTES", listed.data.reshape(best.shape))


def softmax(logits: Floats) -> Floats:
    """Probabilities [B, C] from logits [B, C], in float32."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
