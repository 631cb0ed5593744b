"""The image generators' HTTP routes: OpenAI's `/v1/images/generations`, v2's metadata and statistics, `/health`.

Pictures are drawn one at a time in a thread apart from the event loop, in the order in which they were asked for: what
one request gets depends on no other, and one whose client has gone ends with the picture that is being drawn."""

import asyncio
import base64
import io
import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from serve.engines.generation_request import GenerationRequest, check_size, label_in
from serve.engines.server import Whole, health, refusals
from serve.engines.tensor_answer import statistics
from serve.engines.text_request import parse
from serve.errors import open_inference_body, openai_body
from variants.errors import UnknownName

Picture = npt.NDArray[np.uint8]


class Generator(Protocol):
    """Draws pictures. `platform` is what v2's metadata calls the runtime, `executes` the precision that it computes in
    on this machine, `computed_ns` the nanoseconds that all forward passes took so far, `steps` how many a picture
    takes, `side` a picture's pixels."""

    platform: str
    executes: str
    computed_ns: int
    labels: tuple[str, ...]
    side: int
    steps: int

    def draw(self, label: int, seed: int, index: int) -> Picture:
        """The picture `index` of a seed: uint8 [side, side], grey."""
        ...


def build(model: Generator, name: str, digest: str | None) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    api = GenerationApi(model, name, digest)
    about = [Route("/{model}", api.metadata), Route("/{model}/stats", api.stats)]
    return Starlette(
        routes=[
            health(),
            Route("/v1/images/generations", api.generate, methods=["POST"]),
            Mount("/v2/models", Starlette(routes=about, exception_handlers=refusals(open_inference_body))),
        ],
        exception_handlers=refusals(openai_body),
    )


class GenerationApi:
    """The routes of one generator."""

    def __init__(self, model: Generator, name: str, digest: str | None) -> None:
        self.model, self.name, self.digest = model, name, digest
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self.drawn = 0

    async def generate(self, request: Request) -> ASGIApp:
        asked = parse(GenerationRequest, await request.body())
        self.check_name(asked.model, "model")
        check_size(asked.size, self.model.side)
        label = label_in(asked.prompt, self.model.labels)
        seed = secrets.randbits(63) if asked.seed is None else asked.seed
        return Whole(self.answer(label, seed, asked.n or 1))

    async def answer(self, label: int, seed: int, count: int) -> bytes:
        """The JSON document with `count` pictures of one seed."""
        data = [{"b64_json": base64.b64encode(await self.png(label, seed, index)).decode()} for index in range(count)]
        document: dict[str, Any] = {"created": int(time.time()), "data": data, "seed": seed, "output_format": "png"}
        if self.digest is not None:
            document["system_fingerprint"] = self.digest
        return json.dumps(document, separators=(",", ":")).encode()

    async def png(self, label: int, seed: int, index: int) -> bytes:
        found = await asyncio.get_running_loop().run_in_executor(self.worker, self.model.draw, label, seed, index)
        self.drawn += 1
        return png_of(found)

    async def metadata(self, request: Request) -> Response:
        self.check_name(request.path_params["model"], "model")
        body = {
            "name": self.name,
            "versions": [],
            "platform": self.model.platform,
            "parameters": {
                "executes": self.model.executes,
                "size": f"{self.model.side}x{self.model.side}",
                "sampling_steps": self.model.steps,
                "labels": list(self.model.labels),
            },
            "inputs": [],
            "outputs": [],
        }
        return JSONResponse(body)

    async def stats(self, request: Request) -> Response:
        """What was computed since the start: pictures, passes, their time."""
        self.check_name(request.path_params["model"], "model")
        return statistics(self.name, self.drawn, self.drawn * self.model.steps, self.model.computed_ns)

    def check_name(self, name: str, field: str) -> None:
        if name != self.name:
            raise UnknownName(f"no model {name!r} here", field=field, mend=self.name)


def png_of(picture: Picture) -> bytes:
    """A grey picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
