"""The text classifiers' HTTP routes: Open Inference Protocol v2 (`text` in, `scores` and `labels` out), and `/health`.

A classifier is run as an encoder is, its logits in the place of an embedding: the same batches of like length, the same
checks of texts, which are refused where they are too long, not cut."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from serve.engines.embedding_api import EmbeddingApi, texts_of
from serve.engines.embedding_batch import Embedder
from serve.engines.image_api import softmax
from serve.engines.server import health, refusals, unless_gone
from serve.engines.tensor_answer import check_outputs, tensors
from serve.errors import CLIENT_WENT_AWAY, open_inference_body
from serve.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_response, parse_request
from variants.errors import EngineError


def build(model: Embedder, labels: Sequence[str] | None, name: str) -> Starlette:
    """The application that answers for `model`, whose `embed` gives logits, under the model name `name`. EngineError
    where there are not as many labels as logits."""
    if labels is None or len(labels) != model.width:
        found = "no labels" if labels is None else f"{len(labels)} labels"
        raise EngineError(f"{found} for {model.width} classes", field="manifest.labels", mend="build it again")
    api = TextClassifierApi(model, labels, name)
    routes = [
        Route("/{model}", api.metadata),
        Route("/{model}/stats", api.stats),
        Route("/{model}/infer", api.infer, methods=["POST"]),
    ]
    tensor_routes = Starlette(routes=routes, exception_handlers=refusals(open_inference_body))
    return Starlette(routes=[health(), Mount("/v2/models", tensor_routes)])


class TextClassifierApi(EmbeddingApi):
    """The routes of one classifier."""

    def __init__(self, model: Embedder, labels: Sequence[str], name: str) -> None:
        super().__init__(model, name, None)
        self.labels = [label.encode() for label in labels]

    async def metadata(self, request: Request) -> Response:
        self.check_model(request)
        body: dict[str, Any] = {
            "name": self.name,
            "versions": [],
            "platform": self.model.platform,
            "parameters": {"executes": self.model.executes, "context": self.model.context},
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [-1, len(self.labels)]},
                {"name": "labels", "datatype": "BYTES", "shape": [-1]},
            ],
        }
        return JSONResponse(body)

    async def infer(self, request: Request) -> Response:
        self.check_model(request)
        asked = parse_request(await request.body(), request.headers.get(HEADER_LENGTH))
        check_outputs(asked, ("scores", "labels"))
        texts = await asyncio.to_thread(self.model.encode, texts_of(asked))
        for i, ids in enumerate(texts):
            self.check(ids, f"inputs[0].data[{i}]")
        found = await unless_gone(request.receive, self.batcher.embed(texts))
        if found is None:
            return Response(status_code=CLIENT_WENT_AWAY)
        top = bytes_tensor("labels", (self.labels[i] for i in found.argmax(axis=1)))
        return tensors(*encode_response(self.name, [Tensor("scores", "FP32", softmax(found)), top], asked))
