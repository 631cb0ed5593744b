"""The image engines' HTTP routes: Open Inference Protocol v2 for one classifier, and `/health`.

Everything but the forward pass: metadata, tensors, decoding and normalising images as the manifest says,
errors. Work on images runs in one thread apart from the event loop, so that requests queue in order and
`/health` answers meanwhile."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve.engines.server import health, refusals, unless_gone
from serve.engines.tensor_answer import check_outputs, statistics, tensors
from serve.errors import CLIENT_WENT_AWAY, open_inference_body
from serve.open_inference import (
    HEADER_LENGTH,
    InferRequest,
    Tensor,
    bytes_tensor,
    encode_response,
    parse_request,
)
from variants.errors import InputError, UnknownName
from variants.manifest import Preprocess
from variants.preprocess import pixels_of

Floats = npt.NDArray[np.float32]
SLICE = 32
"""Images decoded and computed at once; longer requests are cut, so that memory does not grow with them."""


class ImageModel(Protocol):
    """A classifier. `platform` is what v2's metadata calls the runtime, `executes` the precision that it
    computes in on this machine, which is not always what was asked of it, `computed_ns` the nanoseconds that all
    forward passes took so far, pre- and postprocessing left out."""

    platform: str
    executes: str
    computed_ns: int
    labels: tuple[str, ...]
    preprocess: Preprocess

    def predict(self, pixels: Floats) -> Floats:
        """Probabilities [B, C] float32 of normalised images [B, 3, H, W] float32."""
        ...


def build(model: ImageModel, name: str) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    api = ImageApi(model, name)
    return Starlette(
        routes=[
            health(),
            Route("/v2/models/{model}", api.metadata),
            Route("/v2/models/{model}/stats", api.stats),
            Route("/v2/models/{model}/infer", api.infer, methods=["POST"]),
        ],
        exception_handlers=refusals(open_inference_body),
    )


class ImageApi:
    """The routes of one classifier."""

    def __init__(self, model: ImageModel, name: str) -> None:
        self.model, self.name = model, name
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="images")
        self.images = self.passes = 0

    async def metadata(self, request: Request) -> Response:
        self.check_model(request)
        height, width = self.model.preprocess.size
        body: dict[str, Any] = {
            "name": self.name,
            "versions": [],
            "platform": self.model.platform,
            "parameters": {"executes": self.model.executes},
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [-1]},
                {"name": "pixels", "datatype": "FP32", "shape": [-1, 3, height, width]},
            ],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [-1, len(self.model.labels)]},
                {"name": "labels", "datatype": "BYTES", "shape": [-1]},
            ],
        }
        return JSONResponse(body)

    async def stats(self, request: Request) -> Response:
        """What was computed since the start, as v2's statistics extension has it: images, passes, their time."""
        self.check_model(request)
        return statistics(self.name, self.images, self.passes, self.model.computed_ns)

    async def infer(self, request: Request) -> Response:
        self.check_model(request)
        body = await request.body()
        header_length = request.headers.get(HEADER_LENGTH)
        loop = asyncio.get_running_loop()
        # A job that has not begun is taken out of the worker's queue when its client leaves.
        work = loop.run_in_executor(self.worker, self.answer, body, header_length)
        found = await unless_gone(request.receive, work)
        if found is None:
            return Response(status_code=CLIENT_WENT_AWAY)
        return tensors(*found)

    def answer(self, body: bytes, header_length: str | None) -> tuple[bytes, int | None]:
        """The whole work on one request, in the worker thread."""
        asked = parse_request(body, header_length)
        check_outputs(asked, ("scores", "labels"), ranked="scores")
        scores = self.scores(asked)
        top = (self.model.labels[i].encode() for i in scores.argmax(axis=1))
        count = next((output.classification for output in asked.outputs if output.classification), None)
        first = ranking(scores, self.model.labels, count) if count else Tensor("scores", "FP32", scores)
        return encode_response(self.name, (first, bytes_tensor("labels", top)), asked)

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
        scores = []
        for start in range(0, len(files), SLICE):
            part = files[start : start + SLICE]
            decoded = [
                pixels_of(file, self.model.preprocess, f"inputs[0].data[{start + i}]") for i, file in enumerate(part)
            ]
            scores.append(self.predict(np.stack(decoded)))
        return np.concatenate(scores)

    def predict(self, pixels: Floats) -> Floats:
        """The forward pass, counted."""
        self.passes += 1
        self.images += len(pixels)
        return self.model.predict(pixels)

    def check_pixels(self, tensor: Tensor) -> None:
        height, width = self.model.preprocess.size
        mend = f"FP32 of shape [B, 3, {height}, {width}] with B at least 1"
        if tensor.datatype != "FP32":
            raise InputError(f"pixels are {tensor.datatype}", field="inputs[0].datatype", mend=mend)
        if tensor.data.ndim != 4 or tensor.shape[1:] != (3, height, width) or not len(tensor.data):
            raise InputError(f"pixels have shape {list(tensor.shape)}", field="inputs[0].shape", mend=mend)
        if not np.isfinite(tensor.data).all():
            raise InputError("not all finite", field="inputs[0].data", mend="numbers, none of them NaN or infinite")

    def check_model(self, request: Request) -> None:
        if request.path_params["model"] != self.name:
            raise UnknownName(f"no model {request.path_params['model']!r} here", field="model", mend=self.name)


def image_files(tensor: Tensor) -> list[bytes]:
    """The files of an `image` tensor; in JSON each is base64 text."""
    mend = "BYTES of shape [B] with B at least 1, each a PNG or JPEG file"
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
                f"not base64: {error}", field=f"inputs[0].data[{i}]", mend="a PNG or JPEG file as base64 text"
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
