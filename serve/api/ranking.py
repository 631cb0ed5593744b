"""`POST /v1/rerank` (the shape of Cohere and Jina) and `POST /v1/score` (vLLM's), answered from embeddings.

A score is the cosine of two embeddings, in [-1, 1]. All texts of a request go to the engine as one `/v1/embeddings`
request, so one variant answers all of them.
"""

import base64
import time
import uuid
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from serve.api.chats.fields import Asked, checked
from serve.api.translated import Door, Translation
from serve.engines.http.text_request import Identified
from variants.document import exactly
from variants.errors import InputError

Words = Annotated[str, Field(min_length=1)]
Whole = Annotated[Literal[0], exactly(int)]
"""vLLM's default for the tokens of a text: all of them."""
Vectors = npt.NDArray[np.float64]


class TextDocument(Asked):
    text: Words


class Ranked(Identified, Asked):
    """What both routes have: the model, whom the request is for, and that no text is cut."""

    model: str
    max_tokens_per_query: Whole = 0
    max_tokens_per_doc: Whole = 0

    def embeddings_of(self, texts: list[str]) -> dict[str, Any]:
        """The request for the embeddings of all texts."""
        client = self.user or self.safety_identifier
        asked = {"model": self.model, "input": texts, "encoding_format": "base64"}
        return asked | ({"user": client} if client else {})


class RerankRequest(Ranked):
    """`POST /v1/rerank`: the documents by their cosine with the query, best first. `top_n`: how many to answer; all
    where it is 0, vLLM's default."""

    query: Words
    documents: Annotated[list[Words | TextDocument], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=0)] = 0
    return_documents: bool = True

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


class ScoreRequest(Ranked):
    """`POST /v1/score`: the cosine of each pair. One text is paired with every text of the other list."""

    text_1: Words | Annotated[list[Words], Field(min_length=1)]
    text_2: Words | Annotated[list[Words], Field(min_length=1)]

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """The distinct texts of both sides. Raises InputError where two lists differ in length."""
        first, second = ([side] if isinstance(side, str) else side for side in (self.text_1, self.text_2))
        if len(first) != len(second) and len(first) != 1 and len(second) != 1:
            raise InputError(
                f"it has {len(second)} texts, and text_1 has {len(first)}",
                field="text_2",
                mend="send one text on a side, or as many on both",
            )
        return first, second


def vectors_of(answer: dict[str, Any]) -> Vectors:
    """The embeddings, one a row, scaled to length 1; an embedding of zeros stays so, and its cosines are 0."""
    data = sorted(answer["data"], key=lambda entry: int(entry["index"]))
    rows = [np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in data]
    vectors = np.stack(rows).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths == 0, 1, lengths))


def rerank(document: dict[str, Any]) -> Translation:
    """Raises InputError."""
    request = checked(RerankRequest, document)
    texts = request.texts

    def whole(answer: dict[str, Any]) -> dict[str, Any]:
        vectors = vectors_of(answer)
        scores = (vectors[1:] @ vectors[0]).tolist()
        order = sorted(range(len(scores)), key=lambda at: -scores[at])[: request.top_n or None]
        results = [
            {"index": at, "relevance_score": scores[at]}
            | ({"document": {"text": texts[at]}} if request.return_documents else {})
            for at in order
        ]
        tokens = answer["usage"]["total_tokens"]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"id": f"rerank-{uuid.uuid4().hex}", "model": request.model, "results": results, "usage": usage}

    return Translation(request.embeddings_of([request.query, *texts]), whole)


def score(document: dict[str, Any]) -> Translation:
    """Raises InputError."""
    request = checked(ScoreRequest, document)
    first, second = request.sides

    def whole(answer: dict[str, Any]) -> dict[str, Any]:
        vectors = vectors_of(answer)
        cosines = (vectors[: len(first)] * vectors[len(first) :]).sum(axis=1)  # one text is repeated
        data = [{"index": at, "object": "score", "score": value} for at, value in enumerate(cosines.tolist())]
        tokens = answer["usage"]["total_tokens"]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
        head = {"id": f"score-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}
        return {**head, "model": request.model, "data": data, "usage": usage}

    return Translation(request.embeddings_of([*first, *second]), whole)


RERANK = Door(rerank, fields={"input": "documents"})
SCORE = Door(score, fields={"input": "text_1, text_2"})
