"""A scorer or a task that fails costs the client nothing: the answer is whole, and only the count is missing."""

import asyncio
import logging
from pathlib import Path

import pytest

from serve.config.loader import parse
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.plugins import installed_in, write_plugin
from tests.support.scripted import echo_stack

pytestmark = pytest.mark.integration
COUNTED = 'understudy_labelled_requests_total{model="echo"'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to install plug-ins in, below a home of its own."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


async def test_an_answer_is_whole_where_its_scorer_fails(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(site, "ours-odd", "scorers", "odd", "def it(answer, label): return 1 / (label != 'zero')")
    own = {"data": {"uri": "./rows.csv"}, "input": "{{ text }}", "label": "label", "scorer": "odd"}
    with installed_in(site):
        stack = parse(echo_stack(free_port()).model_dump(mode="json", by_alias=True) | {"tasks": {"own": own}})
        async with local(tmp_path, stack) as served:
            for label in ("zero", "one"):
                headers = {"x-understudy-task": "own", "x-understudy-label": label}
                body = {"model": "echo", "prompt": "a b c", "max_tokens": 2}
                answer = await served.client.post("/v1/completions", json=body, headers=headers)
                assert answer.status_code == 200
                assert answer.json()["choices"][0]["text"]
            counted: list[str] = []
            async with asyncio.timeout(10):
                while not counted:  # a label is scored after the client has its answer
                    metrics = (await served.client.get("/metrics")).text
                    counted = [each for each in metrics.splitlines() if each.startswith(COUNTED)]
    assert [line.rpartition(" ")[2] for line in counted] == ["1.0"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any(
        "'odd' of understudy.scorers in ours-odd 1.0 fails on an answer: ZeroDivisionError" in each for each in told
    )


async def test_a_task_that_cannot_be_imported_leaves_requests_alone(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plugin(site, "ours-broken", "tasks", "broken", "raise RuntimeError('no device')")
    with installed_in(site):
        async with local(tmp_path, echo_stack(free_port())) as served:
            for labelled in ({}, {"x-understudy-label": "a"}, {"x-understudy-label": "b"}):
                body = {"model": "echo", "prompt": "a b c", "max_tokens": 2}
                headers = {"x-understudy-task": "broken", **labelled}
                answer = await served.client.post("/v1/completions", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
            metrics = (await served.client.get("/metrics")).text
    assert not [line for line in metrics.splitlines() if line.startswith("understudy_labelled") and "broken" in line]
    told = [record.getMessage() for record in caplog.records if "no device" in record.getMessage()]
    assert len(told) == 1
