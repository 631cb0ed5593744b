"""What an upstream says in the log of a variant that is not ready: each reason once, however often it is asked."""

import logging
from pathlib import Path

import pytest

from serve.config.snapshot import build_snapshot
from serve.dataplane.upstream import Upstream
from serve.engines.endpoint import Endpoint, EngineDown
from tests.support.scripted import echo_stack, make_artifacts


async def test_a_refused_adapter_is_logged_once_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack = echo_stack()
    served = build_snapshot(stack, make_artifacts(tmp_path, stack)).variants["echo", "baseline"]
    answers: list[Endpoint | EngineDown] = [EngineDown("starts", why="starting")] * 2
    answers += [EngineDown("the engine refused adapter style: 400 rank 64", why="refused")] * 3
    answers += [Endpoint("http://127.0.0.1:1", 1, 1, 1, "secret"), EngineDown("ended", why="ended")]

    async def describe(ask: bool) -> Endpoint:
        answer = answers.pop(0)
        if isinstance(answer, EngineDown):
            raise answer
        return answer

    upstream = Upstream(served, describe)
    with caplog.at_level(logging.WARNING, "understudy.upstream"):
        while answers:
            await upstream.refresh()
    assert [record.getMessage() for record in caplog.records] == [
        "echo@baseline is not ready: the engine refused adapter style: 400 rank 64",
        "echo@baseline is ready",
        "echo@baseline is not ready: its engine ended",
    ]
