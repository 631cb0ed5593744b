"""The image generators' HTTP routes: OpenAI's `/v1/images/generations`, v2's metadata and statistics, `/health`.

Pictures are drawn one at a time in a thread apart from the event loop, in the order in which they were asked for: what
one request gets depends on no other, and the drawing ends when its client leaves."""

import asyncio
import base64
import io
import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from serve.engines.base import Draw, Generator, Picture
from serve.engines.http.image_generation_request import GenerationRequest
from serve.engines.http.server import Whole
from serve.engines.http.tensors import ModelApi, application
from serve.engines.http.text_request import parse


def build(model: Generator, name: str, digest: str | None) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    api = GenerationApi(model, name, digest)
    return application(api, Route("/v1/images/generations", api.generate, methods=["POST"]))


class GenerationApi(ModelApi[Generator]):
    """The routes of one generator."""

    def __init__(self, model: Generator, name: str, digest: str | None) -> None:
        super().__init__(model, name, **model.parameters)
        self.digest = digest
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self.drawn = 0

    def counted(self) -> tuple[int, int]:
        return self.drawn, self.model.passes

    async def generate(self, request: Request) -> ASGIApp:
        asked = parse(GenerationRequest, await request.body())
        self.check_name(asked.model)
        draw = self.model.drawing(asked.prompt, asked.size, asked.num_inference_steps)
        seed = secrets.randbits(63) if asked.seed is None else asked.seed
        return Whole(self.answer(draw, seed, asked.n or 1))

    async def answer(self, draw: Draw, seed: int, count: int) -> bytes:
        """The JSON document with `count` pictures of one seed."""
        data = [{"b64_json": base64.b64encode(await self.png(draw, seed, index)).decode()} for index in range(count)]
        document: dict[str, Any] = {"created": int(time.time()), "data": data, "seed": seed, "output_format": "png"}
        if self.digest is not None:
            document["system_fingerprint"] = self.digest
        return json.dumps(document, separators=(",", ":")).encode()

    async def png(self, draw: Draw, seed: int, index: int) -> bytes:
        gone, loop = threading.Event(), asyncio.get_running_loop()
        try:
            picture = await loop.run_in_executor(self.worker, draw, seed, index, gone)
        finally:
            gone.set()
        self.drawn += 1
        return png_of(picture)


def png_of(picture: Picture) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
