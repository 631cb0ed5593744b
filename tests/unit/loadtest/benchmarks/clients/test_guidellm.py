"""What is read of guidellm's report."""

import copy
from typing import Any

import pytest

from loadtest.benchmarks.clients.client import WrongAnswer
from loadtest.benchmarks.clients.guidellm import OUTPUT_TOKENS, REQUESTS, embeddings, streams

ANSWER: dict[str, Any] = {
    "output": "some words",
    "output_metrics": {"text_tokens": OUTPUT_TOKENS},
    "info": {"timings": {"first_token_iteration": 1.0, "last_token_iteration": 2.0}},
}


def benchmark(errored: int = 0, **changed: Any) -> dict[str, Any]:
    """The part of a report that is read, with `changed` fields in the first answer."""
    answers = [copy.deepcopy(ANSWER) for _ in range(REQUESTS - errored)]
    answers[0] |= changed
    totals = {"successful": len(answers), "errored": errored, "incomplete": 0}
    return {"metrics": {"request_totals": totals}, "requests": {"successful": answers}}


def test_streams_of_the_wanted_length_pass() -> None:
    assert streams(benchmark()) == f"{REQUESTS} streams of {OUTPUT_TOKENS} tokens"


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (benchmark(errored=1), "'errored': 1"),
        (benchmark(output_metrics={"text_tokens": 3}), "answers of .3, 16"),
        (benchmark(output=""), "no text"),
        (benchmark(info={"timings": {"first_token_iteration": 1.0, "last_token_iteration": 1.0}}), "one piece"),
    ],
)
def test_reports_of_wrong_answers(report: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongAnswer, match=says):
        streams(report)


def test_embeddings_have_the_tokens_that_the_server_counted() -> None:
    report = benchmark()
    for answer in report["requests"]["successful"]:
        answer["input_metrics"] = {"text_tokens": 33}
    assert embeddings(report) == f"{REQUESTS} texts of 33 to 33 tokens"
    report["requests"]["successful"][2]["input_metrics"]["text_tokens"] = None
    with pytest.raises(WrongAnswer, match="None"):
        embeddings(report)
    with pytest.raises(WrongAnswer, match="'errored': 2"):
        embeddings(benchmark(errored=2))
