"""The embedding engines' HTTP routes: OpenAI's `/v1/embeddings`, Open Inference Protocol v2, and `/health`.

Both protocols end in the same batches (`embedding_batch`), and each refuses in its own shape."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from serve.engines.embedding_batch import Batcher, Embedder, Floats, Ids
from serve.engines.embedding_request import EmbeddingRequest, place
from serve.engines.server import Whole, health, refusals, unless_gone
from serve.engines.tensor_answer import check_outputs, statistics, tensors
from serve.engines.text_request import ContextTooShort, parse
from serve.errors import CLIENT_WENT_AWAY, open_inference_body, openai_body
from serve.open_inference import HEADER_LENGTH, InferRequest, Tensor, encode_response, parse_request
from variants.errors import InputError, UnknownName


def build(model: Embedder, name: str, digest: str | None) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    api = EmbeddingApi(model, name, digest)
    tensor_routes = [
        Route("/{model}", api.metadata),
        Route("/{model}/stats", api.stats),
        Route("/{model}/infer", api.infer, methods=["POST"]),
    ]
    return Starlette(
        routes=[
            health(),
            Route("/v1/embeddings", api.embeddings, methods=["POST"]),
            Mount("/v2/models", Starlette(routes=tensor_routes, exception_handlers=refusals(open_inference_body))),
        ],
        exception_handlers=refusals(openai_body),
    )


class EmbeddingApi:
    """The routes of one encoder."""

    def __init__(self, model: Embedder, name: str, digest: str | None) -> None:
        self.model, self.name, self.digest = model, name, digest
        self.batcher = Batcher(model)

    async def embeddings(self, request: Request) -> ASGIApp:
        asked = parse(EmbeddingRequest, await request.body())
        if asked.model != self.name:
            raise UnknownName(f"no model {asked.model!r} here", field="model", mend=self.name)
        if asked.dimensions not in (None, self.model.width):
            mend = f"{self.model.width}, or leave it out"
            raise InputError(f"{asked.dimensions} numbers are not offered", field="dimensions", mend=mend)
        texts = await self.ids_of(asked.inputs, asked.input)
        return Whole(self.answer(texts, asked.encoding_format))

    async def ids_of(self, inputs: list[str] | list[list[int]], original: object) -> list[Ids]:
        """Token ids of each input, checked. Raises ContextTooShort, InputError."""
        if isinstance(inputs[0], str):
            found: Sequence[Ids] = await asyncio.to_thread(self.model.encode, inputs)
        else:
            found = inputs
        for i, ids in enumerate(found):
            self.check(ids, place(inputs is original, i))
        return list(found)

    def check(self, ids: Ids, field: str) -> None:
        if len(ids) > self.model.context:
            most = f"at most {self.model.context}, those around a text included; nothing is cut"
            raise ContextTooShort(f"{len(ids)} tokens", field=field, mend=most)
        wrong = next((token for token in ids if not 0 <= token < self.model.vocabulary), None)
        if wrong is not None:
            raise InputError(f"no token {wrong}", field=field, mend=f"ids from 0 to {self.model.vocabulary - 1}")

    async def answer(self, texts: list[Ids], encoding: str) -> bytes:
        """The JSON document; usage stands last, where a relay finds it without reading the numbers."""
        found = await self.batcher.embed(texts)
        tokens = sum(len(ids) for ids in texts)
        document: dict[str, Any] = {"object": "list", "model": self.name}
        if self.digest is not None:
            document["system_fingerprint"] = self.digest
        document["data"] = [
            {"object": "embedding", "index": i, "embedding": carried(row, encoding)} for i, row in enumerate(found)
        ]
        document["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json.dumps(document, separators=(",", ":")).encode()

    async def metadata(self, request: Request) -> Response:
        self.check_model(request)
        body = {
            "name": self.name,
            "versions": [],
            "platform": self.model.platform,
            "parameters": {"executes": self.model.executes, "context": self.model.context},
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, self.model.width]}],
        }
        return JSONResponse(body)

    async def stats(self, request: Request) -> Response:
        """What was computed since the start: texts, passes, their time."""
        self.check_model(request)
        return statistics(self.name, self.batcher.texts, self.batcher.passes, self.model.computed_ns)

    async def infer(self, request: Request) -> Response:
        self.check_model(request)
        asked = parse_request(await request.body(), request.headers.get(HEADER_LENGTH))
        check_outputs(asked, ("embedding",))
        texts = await asyncio.to_thread(self.model.encode, texts_of(asked))
        for i, ids in enumerate(texts):
            self.check(ids, f"inputs[0].data[{i}]")
        found = await unless_gone(request.receive, self.batcher.embed(texts))
        if found is None:
            return Response(status_code=CLIENT_WENT_AWAY)
        return tensors(*encode_response(self.name, [Tensor("embedding", "FP32", found)], asked))

    def check_model(self, request: Request) -> None:
        if request.path_params["model"] != self.name:
            raise UnknownName(f"no model {request.path_params['model']!r} here", field="model", mend=self.name)


def carried(row: Floats, encoding: str) -> str | list[float]:
    """One embedding as JSON carries it: base64 of little-endian float32, or numbers."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding == "base64" else row.tolist()


def texts_of(asked: InferRequest) -> list[str]:
    """The texts of an infer request. Raises InputError naming the tensor."""
    mend = "one tensor `text`, BYTES of shape [B] with B at least 1, each UTF-8"
    if [tensor.name for tensor in asked.inputs] != ["text"]:
        raise InputError(", ".join(tensor.name for tensor in asked.inputs), field="inputs", mend=mend)
    tensor = asked.inputs[0]
    if tensor.datatype != "BYTES":
        raise InputError(f"text is {tensor.datatype}", field="inputs[0].datatype", mend=mend)
    if tensor.data.ndim != 1 or not len(tensor.data):
        raise InputError(f"text has shape {list(tensor.shape)}", field="inputs[0].shape", mend=mend)
    texts = []
    for i, element in enumerate(tensor.data):
        field = f"inputs[0].data[{i}]"
        try:
            texts.append(element.decode())
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason}", field=field, mend=mend) from None
        if not texts[-1]:
            raise InputError("empty", field=field, mend="at least one character")
    return texts
