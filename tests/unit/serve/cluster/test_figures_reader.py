"""Figures are asked for in the background, not for every question, and not by everybody."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp import web

from serve.cluster import figures_reader
from serve.cluster.figures_reader import FiguresReader
from serve.engines.figures import QUERY, Figures
from serve.engines.http.secret import HEADER
from serve.engines.process import EngineProcess
from serve.ports import free_port

RUNNING = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 2.0\n"


class Asked:
    """An engine's page of metrics, in this process."""

    name, headers = "m@v", {HEADER: "secret"}

    def __init__(self) -> None:
        self.url, self.text, self.times = f"http://127.0.0.1:{free_port()}", RUNNING, 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request: web.Request) -> web.Response:
        assert request.headers[HEADER] == "secret"
        assert list(request.query.items()) == QUERY
        self.times += 1
        await self.gate.wait()
        return web.Response(text=self.text)


@asynccontextmanager
async def reading() -> AsyncIterator[tuple[Asked, FiguresReader]]:
    asked, app = Asked(), web.Application()
    app.router.add_get("/metrics/", asked.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(asked.url.rpartition(":")[2])).start()
    reader = FiguresReader(cast(EngineProcess, asked))
    try:
        yield asked, reader
    finally:
        asked.gate.set()
        await reader.end()
        await runner.cleanup()


async def settled(reader: FiguresReader) -> Figures:
    assert reader.task is not None
    await reader.task
    return reader.latest


async def test_who_asks_does_not_wait() -> None:
    async with reading() as (asked, reader):
        asked.gate.clear()
        assert reader.take() == Figures()
        asked.gate.set()
        assert await settled(reader) == Figures(running=2)
        assert reader.take() == Figures(running=2)


async def test_many_questions_are_one_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_reader, "EVERY_S", 3600.0)
    async with reading() as (asked, reader):
        for _ in range(50):
            reader.take()
            await settled(reader)
        assert asked.times == 1
        reader.begun = float("-inf")  # as when an hour has passed
        reader.take()
        await settled(reader)
        assert asked.times == 2


async def test_an_engine_that_does_not_say_it_has_no_figures_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with reading() as (asked, reader):
        reader.take()
        assert await settled(reader) == Figures(running=2)
        asked.text = "vllm:num_requests_running many"
        with caplog.at_level(logging.WARNING, "understudy.engine"):
            for _ in range(3):
                reader.begun = float("-inf")
                reader.take()
                assert await settled(reader) == Figures()
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
            "the engine of m@v does not tell its figures"
        ]


async def test_a_question_ends_with_the_engine() -> None:
    async with reading() as (asked, reader):
        asked.gate.clear()
        reader.take()
        await reader.end()
        assert reader.task is not None
        assert reader.task.cancelled()
