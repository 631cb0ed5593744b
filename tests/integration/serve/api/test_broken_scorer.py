"""A scorer that fails on a live label costs the client nothing: the answer is whole, and only the count is missing."""

import logging
from pathlib import Path

import pytest

from serve.config.loader import parse
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.plugins import installed_in, write_plugin
from tests.support.scripted import echo_stack

pytestmark = pytest.mark.integration


async def test_an_answer_is_whole_where_its_scorer_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    (tmp_path / "site").mkdir()
    write_plugin(tmp_path / "site", "ours-odd", "scorers", "odd", "def it(answer, label): return 1 / (label != 'zero')")
    own = {"data": {"uri": "./rows.csv"}, "input": "{{ text }}", "label": "label", "scorer": "odd"}
    with installed_in(tmp_path / "site"):
        stack = parse(echo_stack(free_port()).model_dump(mode="json", by_alias=True) | {"tasks": {"own": own}})
        async with local(tmp_path, stack) as served:
            for label in ("zero", "one"):
                headers = {"x-understudy-task": "own", "x-understudy-label": label}
                body = {"model": "echo", "prompt": "a b c", "max_tokens": 2}
                answer = await served.client.post("/v1/completions", json=body, headers=headers)
                assert answer.status_code == 200
                assert answer.json()["choices"][0]["text"]
            metrics = (await served.client.get("/metrics")).text
    counted = [line for line in metrics.splitlines() if line.startswith("understudy_labelled_requests_total")]
    assert [line.rpartition(" ")[2] for line in counted] == ["1.0"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any(
        "'odd' of understudy.scorers in ours-odd 1.0 fails on an answer: ZeroDivisionError" in each for each in told
    )
