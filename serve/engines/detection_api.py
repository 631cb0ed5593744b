"""The detection engines' HTTP routes: Open Inference Protocol v2 for one detector, and `/health`.

One image a request, because each has another number of boxes. Work on images runs in one thread apart from the event
loop, so that requests queue in order and `/health` answers meanwhile."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serve.engines.image_api import image_files
from serve.engines.server import health, refusals, unless_gone
from serve.engines.tensor_answer import check_outputs, statistics, tensors
from serve.errors import CLIENT_WENT_AWAY, open_inference_body
from serve.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_response, parse_request
from variants.boxes import Box
from variants.errors import InputError, UnknownName

OUTPUTS = ("boxes", "scores", "labels")


class DetectionModel(Protocol):
    """A detector. `platform` is what v2's metadata calls the runtime, `executes` the precision that it computes in on
    this machine, which is not always what was asked of it, `computed_ns` the nanoseconds that all forward passes took
    so far, pre- and postprocessing left out."""

    platform: str
    executes: str
    computed_ns: int

    def find(self, image: bytes, field: str = "image") -> list[Box]:
        """The boxes in an encoded image, surest first. Raises InputError naming `field`."""
        ...


def build(model: DetectionModel, name: str) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    api = DetectionApi(model, name)
    return Starlette(
        routes=[
            health(),
            Route("/v2/models/{model}", api.metadata),
            Route("/v2/models/{model}/stats", api.stats),
            Route("/v2/models/{model}/infer", api.infer, methods=["POST"]),
        ],
        exception_handlers=refusals(open_inference_body),
    )


class DetectionApi:
    """The routes of one detector."""

    def __init__(self, model: DetectionModel, name: str) -> None:
        self.model, self.name = model, name
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="images")
        self.images = 0

    async def metadata(self, request: Request) -> Response:
        self.check_model(request)
        body: dict[str, Any] = {
            "name": self.name,
            "versions": [],
            "platform": self.model.platform,
            "parameters": {"executes": self.model.executes},
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}],
            "outputs": [
                {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
                {"name": "scores", "datatype": "FP32", "shape": [-1]},
                {"name": "labels", "datatype": "BYTES", "shape": [-1]},
            ],
        }
        return JSONResponse(body)

    async def stats(self, request: Request) -> Response:
        """What was computed since the start, as v2's statistics extension has it: images, passes, their time."""
        self.check_model(request)
        return statistics(self.name, self.images, self.images, self.model.computed_ns)

    async def infer(self, request: Request) -> Response:
        self.check_model(request)
        body = await request.body()
        header_length = request.headers.get(HEADER_LENGTH)
        work = asyncio.get_running_loop().run_in_executor(self.worker, self.answer, body, header_length)
        found = await unless_gone(request.receive, work)
        if found is None:
            return Response(status_code=CLIENT_WENT_AWAY)
        return tensors(*found)

    def answer(self, body: bytes, header_length: str | None) -> tuple[bytes, int | None]:
        """The whole work on one request, in the worker thread."""
        asked = parse_request(body, header_length)
        check_outputs(asked, OUTPUTS)
        if len(asked.inputs) != 1 or asked.inputs[0].name != "image":
            names = ", ".join(tensor.name for tensor in asked.inputs)
            raise InputError(f"{names}", field="inputs", mend="one tensor, `image` (BYTES)")
        files = image_files(asked.inputs[0])
        if len(files) != 1:
            raise InputError(f"{len(files)} images", field="inputs[0].shape", mend="one image a request")
        boxes = self.model.find(files[0], "inputs[0].data[0]")
        self.images += 1
        return encode_response(self.name, outputs_of(boxes), asked)

    def check_model(self, request: Request) -> None:
        if request.path_params["model"] != self.name:
            raise UnknownName(f"no model {request.path_params['model']!r} here", field="model", mend=self.name)


def outputs_of(boxes: list[Box]) -> tuple[Tensor, ...]:
    """`boxes` FP32 [n, 4]: left, top, right, bottom in pixels of the image that was sent; `scores` FP32 [n]; `labels`
    BYTES [n]; n may be 0."""
    corners = np.array([box[1:5] for box in boxes], np.float32).reshape(-1, 4)
    return (
        Tensor("boxes", "FP32", corners),
        Tensor("scores", "FP32", np.array([box.score for box in boxes], np.float32)),
        bytes_tensor("labels", (box.label.encode() for box in boxes)),
    )
