"""Requests of rerank and score as requests for embeddings."""

from typing import Any

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
