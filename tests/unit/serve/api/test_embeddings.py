"""How the ingress reads answers with embeddings: usage from the end, numbers only for a label."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.api.embeddings import EmbeddingAnswer
from serve.dataplane.call import Call


async def passed(document: object, status: int = 200) -> EmbeddingAnswer:
    """An answer that was relayed in chunks of 7 bytes."""
    answer = EmbeddingAnswer(
        cast(Call, SimpleNamespace(streamed=False, status=status, upstream=None)), show_usage=False
    )
    body = json.dumps(document).encode()
    out = b"".join(answer.chunk(body[i : i + 7], 0.0) for i in range(0, len(body), 7))
    assert out + await answer.end() == body
    return answer


def document(*vectors: object) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 17, "total_tokens": 17}}


async def test_usage_is_read_from_the_end() -> None:
    assert (await passed(document([0.25] * 500))).usage == {"prompt_tokens": 17}
    assert (await passed({"error": {"message": "no"}}, 400)).usage == {}


@pytest.mark.parametrize(("label", "right"), [("first", False), ("second", True)])
async def test_a_triplet_is_scored_in_any_order(label: str, right: bool) -> None:
    answer = document([1.0, 0.0], [0.0, 1.0], [1.0, 0.5])
    answer["data"].reverse()
    assert (await passed(answer)).score(label) == right


async def test_an_answer_without_three_embeddings_is_not_scored() -> None:
    assert (await passed(document([1.0, 0.0], [0.0, 1.0]))).score("first") is None
