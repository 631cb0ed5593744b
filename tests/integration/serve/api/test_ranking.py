"""`/v1/rerank` and `/v1/score` over real engines, checked against numpy on the embeddings themselves."""

from typing import Any

import numpy as np
import pytest

from tests.support.local_stage import Local

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
QUERY = "rates rise again"
DOCUMENTS = ["wheat harvest", "rates rise", "a merger of banks", "rates rise again"]


async def ask(door: Local, path: str, **body: Any) -> dict[str, Any]:
    answer = await door.client.post(path, json={"model": "near@baseline", **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def cosines(door: Local, one: str, others: list[str]) -> list[float]:
    answer = await ask(door, "/v1/embeddings", input=[one, *others])
    vectors = np.array([entry["embedding"] for entry in answer["data"]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return list(vectors[1:] @ vectors[0])


async def test_documents_come_best_first(door: Local) -> None:
    answer = await ask(door, "/v1/rerank", query=QUERY, documents=DOCUMENTS)
    wanted = await cosines(door, QUERY, DOCUMENTS)
    results = answer["results"]
    assert [each["index"] for each in results] == sorted(range(4), key=lambda at: -wanted[at])
    assert results[0]["index"] == 3
    np.testing.assert_allclose([each["relevance_score"] for each in results], sorted(wanted, reverse=True), atol=1e-6)
    assert [each["document"]["text"] for each in results] == [DOCUMENTS[each["index"]] for each in results]
    assert answer["usage"]["total_tokens"] == 14
    assert answer["model"] == "near@baseline"


async def test_fewer_documents_and_without_their_text(door: Local) -> None:
    objects = [{"text": text} for text in DOCUMENTS]
    asked: dict[str, Any] = {"query": QUERY, "documents": objects, "top_n": 2, "return_documents": False}
    answer = await ask(door, "/v1/rerank", **asked)
    whole = await ask(door, "/v1/rerank", query=QUERY, documents=DOCUMENTS, top_n=99)
    assert len(whole["results"]) == 4
    expected = [{key: each[key] for key in ("index", "relevance_score")} for each in whole["results"][:2]]
    assert answer["results"] == expected


@pytest.mark.parametrize(
    ("text_1", "text_2", "pairs"),
    [
        (QUERY, "rates rise", [(0, 0)]),
        (QUERY, DOCUMENTS, [(0, at) for at in range(4)]),
        ([QUERY], DOCUMENTS, [(0, at) for at in range(4)]),
        (DOCUMENTS, QUERY, [(at, 0) for at in range(4)]),
        (DOCUMENTS[:2], DOCUMENTS[2:], [(0, 0), (1, 1)]),
    ],
)
async def test_pairs_get_their_cosine(
    door: Local, text_1: str | list[str], text_2: str | list[str], pairs: list[tuple[int, int]]
) -> None:
    answer = await ask(door, "/v1/score", text_1=text_1, text_2=text_2)
    ones, others = ([side] if isinstance(side, str) else side for side in (text_1, text_2))
    wanted = [(await cosines(door, ones[one], [others[other]]))[0] for one, other in pairs]
    np.testing.assert_allclose([each["score"] for each in answer["data"]], wanted, atol=1e-6)
    assert [each["index"] for each in answer["data"]] == list(range(len(pairs)))
    assert {each["object"] for each in answer["data"]} == {"score"}
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


async def test_a_user_stays(door: Local) -> None:
    async def variant(path: str, **body: Any) -> list[str]:
        answer = await door.client.post(path, json={"model": "near", **body})
        return [answer.headers["x-understudy-variant"], answer.headers["x-understudy-reason"]]

    for name in ("ann", "bob", "cid"):
        placed = await variant("/v1/embeddings", input="a", user=name)
        assert placed[1] == "sticky"
        assert placed == await variant("/v1/rerank", query="a", documents=["b"], user=name)
        assert placed == await variant("/v1/score", text_1="a", text_2="b", user=name)


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/v1/rerank", {"documents": ["a"]}, "query", "is missing"),
        ("/v1/rerank", {"query": "", "documents": ["a"]}, "query", "at least 1"),
        ("/v1/rerank", {"query": "a"}, "documents", "is missing"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents", "at least 1"),
        ("/v1/rerank", {"query": "a", "documents": ["b", 7]}, "documents[1]", "7 was sent"),
        ("/v1/rerank", {"query": "a", "documents": [{"title": "b"}]}, "documents[0].text", "is missing"),
        ("/v1/rerank", {"query": "a", "documents": ["b", ""]}, "documents[1]", "at least 1"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, "top_n", "-1 was sent"),
        ("/v1/rerank", {"query": "a", "documents": ["b"] * 2048}, "documents", "2049 inputs"),
        ("/v1/rerank", {"query": "a", "documents": ["w " * 3000]}, "documents", "2048"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "model": "echo"}, "model", "/v1/completions"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "colour": 1}, "colour", "leave it out"),
        ("/v1/score", {"text_1": "a"}, "text_2", "is missing"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_2", "as many on both"),
        ("/v1/score", {"text_1": [], "text_2": "a"}, "text_1", "at least 1"),
        ("/v1/score", {"text_1": "a", "text_2": ["b", None]}, "text_2[1]", "None was sent"),
    ],
)
async def test_bad_requests_name_the_field_and_the_mend(
    door: Local, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    answer = await door.client.post(path, json={"model": "near", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert says in error["message"]
