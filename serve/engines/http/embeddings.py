"""The embedding engines' HTTP routes: OpenAI's `/v1/embeddings`, Open Inference Protocol v2, and `/health`.

Both protocols end in the same batches (`embedding_batch`), and each refuses in its own shape."""

import asyncio
import base64
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from serve.engines.base import Embedder, Floats, Ids
from serve.engines.http.embedding_batch import Batcher
from serve.engines.http.embedding_request import EmbeddingRequest, place
from serve.engines.http.server import Whole
from serve.engines.http.tensors import Encoded, Port, TensorApi, application
from serve.engines.http.text_request import parse
from serve.errors import ContextTooLong
from serve.protocols.open_inference import InferRequest, Tensor, encode_response
from variants.errors import InputError

TOKEN_CHARACTERS = 128
"""Characters that one token stands for at most, for a bound before a text is tokenized. Words have 4 on average."""
PIECE = 2**16
"""Characters that are tokenized at once: some 30 ms."""


def build(model: Embedder, name: str, digest: str | None) -> Starlette:
    """The application that answers for `model` under the model name `name`."""
    api = EmbeddingApi(model, name, digest)
    return application(api, Route("/v1/embeddings", api.embeddings, methods=["POST"]))


class EncoderApi(TensorApi[Embedder]):
    """v2's routes of a model that takes texts: their tokens checked, their passes shared with all that wait."""

    def __init__(self, model: Embedder, name: str, *outputs: Port) -> None:
        super().__init__(model, name, [Port("text", "BYTES", (-1,))], outputs, context=model.context)
        self.batcher = Batcher(model)

    def counted(self) -> tuple[int, int]:
        return self.batcher.texts, self.batcher.passes

    async def work(self, body: bytes, header_length: str | None) -> Encoded:
        asked = self.parsed(body, header_length)
        texts = await self.encoded(texts_of(asked), "inputs[0].data[{}]")
        for i, ids in enumerate(texts):
            self.check(ids, f"inputs[0].data[{i}]")
        return encode_response(self.name, self.tensors(await self.batcher.embed(texts)), asked)

    async def encoded(self, texts: Sequence[str], field: str) -> list[Ids]:
        """Token ids of each text, made off the event loop and in pieces, so that a client that leaves ends the work. A
        text that cannot fit is refused before. `field` has `{}` for a text's index. Raises ContextTooLong."""
        most = self.model.context * TOKEN_CHARACTERS
        for i, text in enumerate(texts):
            if len(text) > most:
                mend = f"at most {self.model.context} tokens, and never more than {most} characters"
                raise ContextTooLong(f"{len(text)} characters", field=field.format(i), mend=mend)
        ids: list[Ids] = []
        for piece in pieces(texts):
            ids += await asyncio.to_thread(self.model.encode, piece)
        return ids

    @abstractmethod
    def tensors(self, rows: Floats) -> Sequence[Tensor]:
        """All outputs, from what the model gave for each text."""

    def check(self, ids: Ids, field: str) -> None:
        if len(ids) > self.model.context:
            most = f"at most {self.model.context}, those around a text included; nothing is cut"
            raise ContextTooLong(f"{len(ids)} tokens", field=field, mend=most)
        wrong = next((token for token in ids if not 0 <= token < self.model.vocabulary), None)
        if wrong is not None:
            raise InputError(f"no token {wrong}", field=field, mend=f"ids from 0 to {self.model.vocabulary - 1}")


class EmbeddingApi(EncoderApi):
    """The routes of one encoder."""

    def __init__(self, model: Embedder, name: str, digest: str | None) -> None:
        super().__init__(model, name, Port("embedding", "FP32", (-1, model.width)))
        self.digest = digest

    def tensors(self, rows: Floats) -> Sequence[Tensor]:
        return [Tensor("embedding", "FP32", rows)]

    async def embeddings(self, request: Request) -> ASGIApp:
        asked = parse(EmbeddingRequest, await request.body())
        self.check_name(asked.model)
        if asked.dimensions not in (None, self.model.width):
            mend = f"{self.model.width}, or leave it out"
            raise InputError(f"{asked.dimensions} numbers are not offered", field="dimensions", mend=mend)
        texts = await self.ids_of(asked.inputs, asked.input)
        return Whole(self.answer(texts, asked.encoding_format or "float"))

    async def ids_of(self, inputs: list[str] | list[list[int]], original: object) -> list[Ids]:
        """Token ids of each input, checked. Raises ContextTooLong, InputError."""
        if isinstance(inputs[0], str):
            field = "input[{}]" if inputs is original else "input"
            texts: Sequence[Ids] = await self.encoded(cast("list[str]", inputs), field)
        else:
            texts = inputs
        for i, ids in enumerate(texts):
            self.check(ids, place(inputs is original, i))
        return list(texts)

    async def answer(self, texts: list[Ids], encoding: str) -> bytes:
        """The JSON document; usage stands last, where a relay finds it without reading the numbers."""
        rows = await self.batcher.embed(texts)
        tokens = sum(len(ids) for ids in texts)
        document: dict[str, Any] = {"object": "list", "model": self.name}
        if self.digest is not None:
            document["system_fingerprint"] = self.digest
        document["data"] = [
            {"object": "embedding", "index": i, "embedding": carried(row, encoding)} for i, row in enumerate(rows)
        ]
        document["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json.dumps(document, separators=(",", ":")).encode()


def pieces(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, in lists that are tokenized at once: at least one text, and then up to PIECE characters."""
    piece: list[str] = []
    size = 0
    for text in texts:
        if piece and size + len(text) > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(text)
        size += len(text)
    yield piece


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
