"""Labels of live requests for tasks of one's own, where a label says nothing of one answer."""

import asyncio
from pathlib import Path

import pytest

from serve.config.loader import only, parse
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack, make_stack

pytestmark = pytest.mark.integration
ALIKE = {"data": {"uri": "./pairs.csv"}, "pair": ["one", "other"], "label": "score", "scorer": "spearman"}


FORM = {
    "data": {"uri": "./rows.csv"},
    "messages": [{"role": "user", "content": "{{ text }}"}],
    "scorer": "schema",
    "schema": {"type": "string"},
}


async def test_a_schema_comes_from_the_task_and_not_from_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    stack = parse(echo_stack(free_port()).model_dump(mode="json", by_alias=True) | {"tasks": {"form": FORM}})
    async with local(tmp_path, stack) as served:
        for text, label in (('"a" "b"', "schema"), ("plain", '{"type": "object"}'), ("plain", "{}")):
            body = {"model": "echo@int8", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
            headers = {"x-understudy-task": "form", "x-understudy-label": label}
            answer = await served.client.post("/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200
        counted: list[str] = []
        async with asyncio.timeout(10):
            while sum(float(line.rpartition(" ")[2]) for line in counted) < 3:  # scored after the client has its answer
                metrics = (await served.client.get("/metrics")).text
                counted = [
                    line for line in metrics.splitlines() if line.startswith("understudy_labelled_requests_total")
                ]
    wrong = 'understudy_labelled_requests_total{model="echo",outcome="wrong",task="form",variant="int8"} 3.0'
    assert counted == [wrong], "no answer is one JSON string, and {} in a request would have allowed anything"


async def test_the_score_of_a_pair_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    stack = only(make_stack(free_port()), "near")
    stack = parse(stack.model_dump(mode="json", by_alias=True) | {"tasks": {"alike": ALIKE}})
    body = {"model": "near", "input": ["a b", "a c"]}
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a b"]}
    async with local(tmp_path, stack) as served:
        for path, asked in (("/v1/embeddings", body), ("/v2/models/near/infer", {"inputs": [tensor]})):
            named = {"x-understudy-task": "alike"}
            assert (await served.client.post(path, json=asked, headers=named)).status_code == 200
            refused = await served.client.post(path, json=asked, headers=named | {"x-understudy-label": "2.5"})
            assert refused.status_code == 400
            assert "alike is scored by the order of many pairs" in refused.text
