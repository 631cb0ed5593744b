"""What the HTTP routes of our engines share: Open Inference Protocol v2 for one model, and `/health`.

A subclass says what goes in and what comes out, and computes the one from the other."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from serve.engines.base import Runtime
from serve.engines.http.server import health, refusals, unless_gone
from serve.errors import CLIENT_WENT_AWAY, ClientLeft, open_inference_body, openai_body
from serve.protocols.open_inference import HEADER_LENGTH, InferRequest, Tensor, encode_response, parse_request
from variants.errors import InputError, UnknownName

Encoded = tuple[bytes, int | None]
"""A body, and the length of its JSON head where binary tensors follow one."""


M = TypeVar("M", bound=Runtime)
T = TypeVar("T")
MOST_EXAMPLES = 2048
"""In one request, OpenAI's own limit for embeddings."""


class Port(NamedTuple):
    """An input or output, as v2's metadata has it; -1 stands for any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelApi(ABC, Generic[M]):
    """v2's metadata and statistics of one model. `parameters` are metadata's, beside the precision."""

    def __init__(
        self, model: M, name: str, inputs: Sequence[Port] = (), outputs: Sequence[Port] = (), **parameters: Any
    ) -> None:
        self.model, self.name = model, name
        self.inputs, self.outputs, self.parameters = inputs, outputs, parameters

    def routes(self, prefix: str) -> list[Route]:
        return [Route(f"{prefix}/{{model}}", self.metadata), Route(f"{prefix}/{{model}}/stats", self.stats)]

    async def metadata(self, request: Request) -> Response:
        self.check_model(request)
        body = {
            "name": self.name,
            "versions": [],
            "platform": self.model.platform,
            "parameters": {"executes": self.model.executes} | self.parameters,
            "inputs": [port._asdict() for port in self.inputs],
            "outputs": [port._asdict() for port in self.outputs],
        }
        return JSONResponse(body)

    async def stats(self, request: Request) -> Response:
        """What was computed since the start, as v2's statistics extension has it: examples, passes, their time."""
        self.check_model(request)
        examples, passes = self.counted()
        statistics = {
            "name": self.name,
            "version": "",
            "inference_count": examples,
            "execution_count": passes,
            "inference_stats": {"compute_infer": {"count": passes, "ns": self.model.computed_ns}},
        }
        return JSONResponse({"model_stats": [statistics]})

    @abstractmethod
    def counted(self) -> tuple[int, int]:
        """Examples and forward passes that were computed."""

    def check_model(self, request: Request) -> None:
        self.check_name(request.path_params["model"])

    def check_name(self, name: str) -> None:
        if name != self.name:
            raise UnknownName(f"no model {name!r} here", field="model", mend=self.name)


class TensorApi(ModelApi[M]):
    """The same, and v2's inference. `ranked` is the output that v2's classification extension may be asked of."""

    ranked: ClassVar[str | None] = None

    def routes(self, prefix: str) -> list[Route]:
        return [*super().routes(prefix), Route(f"{prefix}/{{model}}/infer", self.infer, methods=["POST"])]

    async def infer(self, request: Request) -> Response:
        self.check_model(request)
        work = self.work(await request.body(), request.headers.get(HEADER_LENGTH))
        encoded = await unless_gone(request.receive, work)
        if encoded is None:
            return Response(status_code=CLIENT_WENT_AWAY)
        body, header_length = encoded
        if header_length is None:
            return Response(body, media_type="application/json")
        return Response(body, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})

    @abstractmethod
    def work(self, body: bytes, header_length: str | None) -> Awaitable[Encoded]:
        """The answer to one request; given up when the client goes away."""

    def parsed(self, body: bytes, header_length: str | None) -> InferRequest:
        """The request, its outputs checked before any work. Raises InputError."""
        asked, offered = parse_request(body, header_length), [port.name for port in self.outputs]
        for i, tensor in enumerate(asked.inputs):
            if tensor.shape and tensor.shape[0] > MOST_EXAMPLES:
                mend = f"at most {MOST_EXAMPLES} a request"
                raise InputError(f"{tensor.shape[0]} examples", field=f"inputs[{i}].shape", mend=mend)
        for i, requested in enumerate(asked.outputs):
            if requested.classification is not None and requested.name != self.ranked:
                mend = f"only for the output {self.ranked!r}" if self.ranked else "leave it out"
                raise InputError("not offered", field=f"outputs[{i}].parameters.classification", mend=mend)
            if requested.name not in offered:
                mend = ", ".join(offered)
                raise InputError(f"no output {requested.name!r}", field=f"outputs[{i}].name", mend=mend)
        return asked


class ThreadedApi(TensorApi[M]):
    """Requests are worked on whole, one after the other, in a thread apart from the event loop: so that they queue in
    order and `/health` answers meanwhile. `gone` belongs to the worker: whether the client of what it works on has
    left."""

    def __init__(self, model: M, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        super().__init__(model, name, inputs, outputs)
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self.gone = threading.Event()

    async def work(self, body: bytes, header_length: str | None) -> Encoded:
        # A job that has not begun is taken out of the worker's queue when its client leaves; one that has can look.
        gone = threading.Event()

        def job() -> Encoded:
            self.gone = gone
            return self.answer(body, header_length)

        try:
            return await asyncio.get_running_loop().run_in_executor(self.worker, job)
        finally:
            gone.set()

    def answer(self, body: bytes, header_length: str | None) -> Encoded:
        """The whole work on one request, in the worker thread."""
        asked = self.parsed(body, header_length)
        return encode_response(self.name, self.tensors(asked), asked)

    def check_awaited(self) -> None:
        """Call it in the worker between parts of the work. Raises ClientLeft where the client has gone."""
        if self.gone.is_set():
            raise ClientLeft("the client left before its request was done")

    def while_awaited(self, parts: Iterable[T]) -> Iterator[T]:
        """The parts, with `check_awaited` before each."""
        for part in parts:
            self.check_awaited()
            yield part

    @abstractmethod
    def tensors(self, asked: InferRequest) -> Sequence[Tensor]:
        """All outputs. Raises InputError naming the tensor, ClientLeft."""


def application(api: ModelApi[Any], *openai: Route) -> Starlette:
    """The application of one model; each protocol refuses in its own shape."""
    refused = refusals(open_inference_body)
    if not openai:
        return Starlette(routes=[health(), *api.routes("/v2/models")], exception_handlers=refused)
    tensors = Mount("/v2/models", Starlette(routes=api.routes(""), exception_handlers=refused))
    return Starlette(routes=[health(), *openai, tensors], exception_handlers=refusals(openai_body))
