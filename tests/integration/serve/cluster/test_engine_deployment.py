"""A deployment that hosts several engines: each starts, fails and stops by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serve.cluster import hosted_engine
from serve.cluster.engine_deployment import EngineDeployment, in_order
from serve.config.snapshot import EngineSpec, build_snapshot
from serve.engines.endpoint import Endpoint, EngineDown
from serve.engines.figures import Figures
from serve.engines.launch import Launch
from tests.integration.serve.engines.supervised import LIMIT_S, until
from tests.support.scripted import make_artifacts, make_stack
from variants.errors import EngineError

# Ray Serve awaits `__del__`; Python itself calls it too, and does not.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:coroutine 'EngineDeployment.__del__'")]


def specs(home: Path, **script: Any) -> list[EngineSpec]:
    stack = make_stack(**script)
    return list(build_snapshot(stack, make_artifacts(home, stack)).engines.values())


@asynccontextmanager
async def hosting(home: Path, engines: list[EngineSpec], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(home))
    host: Any = EngineDeployment.__new__(EngineDeployment)
    await host.__init__(engines)
    try:
        yield host
    finally:
        await host.__del__()


async def test_engines_come_and_go_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, later, *_ = specs(tmp_path)
    async with hosting(tmp_path, [first, second], monkeypatch) as host:
        assert await host.running() == {first.application, second.application}
        await until(lambda: all(hosted.tried for hosted in host.hosted.values()), LIMIT_S)
        assert await host.tried() == {first.application, second.application}
        pids = {name: (await host.describe(name)).pid for name in await host.running()}
        assert len(set(pids.values())) == 2
        async with asyncio.timeout(LIMIT_S):
            while (figures := (await host.describe(first.application)).figures) == Figures():
                await asyncio.sleep(0.05)
        assert None not in figures
        await host.begin(first)  # as when a change is tried again
        await host.begin(later)
        await host.stop(second.application)
        gone = await host.describe(second.application)
        assert isinstance(gone, EngineDown)
        assert gone.why == "starting"
        await until(lambda: host.hosted[later.application].tried, LIMIT_S)
        await host.check_health()
        assert (await host.describe(first.application)).pid == pids[first.application]
        assert await host.tried() == {first.application, later.application}


async def test_an_engine_that_starts_slowly_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slow, *_) = specs(tmp_path, startup_s=600)
    async with hosting(tmp_path, [slow], monkeypatch) as host:
        await until(lambda: host.hosted[slow.application].engine.running, LIMIT_S)
        assert await host.tried() == set()
        process = host.hosted[slow.application].engine.process
        await host.stop(slow.application)
        assert process.returncode is not None
        assert await host.running() == set()


async def test_an_engine_without_a_command_is_down_and_the_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken, *_ = specs(tmp_path)
    make = hosted_engine.launch

    def launch(*asked: Any) -> Launch:
        if broken.name in asked:
            raise EngineError("no command for it")
        return make(*asked)

    monkeypatch.setattr(hosted_engine, "launch", launch)
    async with hosting(tmp_path, [broken, whole], monkeypatch) as host:
        assert broken.application in await host.tried()
        down = await host.describe(broken.application)
        assert isinstance(down, EngineDown)
        assert "no command for it" in str(down)
        await until(lambda: host.hosted[whole.application].tried, LIMIT_S)
        assert isinstance(await host.describe(whole.application), Endpoint)


async def test_a_deployment_whose_engine_is_not_watched_is_unwell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = specs(tmp_path)
    async with hosting(tmp_path, [first], monkeypatch) as host:
        await until(lambda: host.hosted[first.application].tried, LIMIT_S)
        await host.check_health()
        task = host.hosted[first.application].supervisor.task
        task.cancel()
        await until(task.done)
        with pytest.raises(EngineError, match="nobody watches"):
            await host.check_health()


def test_light_engines_start_first(tmp_path: Path) -> None:
    first, second, *_ = specs(tmp_path)
    settings = first.settings.model_copy(update={"kind": "vllm"})
    heavy = EngineSpec(first.application, settings, first.artifact, first.name)
    assert in_order([heavy, second]) == [second, heavy]
