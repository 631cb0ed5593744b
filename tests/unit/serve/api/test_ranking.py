"""Requests of rerank and score as requests for embeddings."""

import base64
from typing import Any

import numpy as np
import pytest

from serve.api.ranking import RERANK, SCORE


def rerank(**fields: Any) -> dict[str, Any]:
    return RERANK.translate({"model": "m", "query": "q", "documents": ["a"], **fields}).asked


def score(**fields: Any) -> dict[str, Any]:
    return SCORE.translate({"model": "m", "text_1": "q", "text_2": ["a"], **fields}).asked


MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    "fields",
    [
        MARK,
        {"documents": [{"text": "a", **MARK, "provider_specific_fields": {}}]},
        {"max_tokens_per_query": 0, "max_tokens_per_doc": 0},
        {"stream": False, "priority": 0, "extra_body": {}, "metadata": {}, "top_n": None, "tomorrow": None},
    ],
)
def test_what_asks_for_nothing_is_left_out(fields: dict[str, Any]) -> None:
    assert rerank(**fields) == rerank()
    rest = {name: value for name, value in fields.items() if name != "documents"}
    assert score(**rest) == score()


def test_a_client_by_any_of_its_names() -> None:
    for ask in (rerank, score):
        assert ask(safety_identifier="ann", prompt_cache_key="k", prompt_cache_retention="24h")["user"] == "ann"
        assert ask(safety_identifier="ann", user="bob")["user"] == "bob"


def test_all_documents_are_answered_where_none_are_counted() -> None:
    rows = [np.asarray(row, "<f4") for row in ((1, 0), (0, 1), (1, 0))]
    data = [{"index": at, "embedding": base64.b64encode(row.tobytes()).decode()} for at, row in enumerate(rows)]
    document = {"model": "m", "query": "q", "documents": ["a", "b"]}
    for asked, answered in (({}, 2), ({"top_n": 0}, 2), ({"top_n": 1}, 1)):
        whole = RERANK.translate(document | asked).whole({"data": data, "usage": {"total_tokens": 3}})
        assert [each["index"] for each in whole["results"]] == [1, 0][:answered]
