"""Engines that a warmed process forks: they live and end as those that are started by their command."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from serve.engines.endpoint import EngineDown
from serve.engines.launch import Launch, Warm, launch
from serve.engines.probe import probe_of
from serve.engines.process import EngineProcess
from serve.engines.supervisor import Supervisor
from serve.engines.warm_client import ForkedProcess, WarmedProcess, WarmedProcesses
from tests.integration.serve.engines.supervised import QUICK, begun, until
from tests.support.processes import ROOT
from tests.support.scripted import make_artifact, make_stack
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store
from variants.build.garbage import collect

pytestmark = pytest.mark.integration
SCRIPTED = Warm("scripted", ("serve.engines.scripted.engine",), (("OMP_NUM_THREADS", "1"),))
ORPHANS = """
import asyncio, json, sys
from pathlib import Path
from tests.integration.serve.engines.test_warm import forked

async def main():
    async with forked(Path(sys.argv[1])) as (engine, warmed):
        await engine.start()
        print(json.dumps([engine.pid, warmed.process.pid]), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def launched(home: Path, warm: Warm = SCRIPTED) -> Launch:
    artifact = make_artifact(home, "echo", "int8", "text-generation")
    settings = make_stack().models["echo"].variants["int8"].engine
    return replace(launch(settings, artifact.path, artifact.manifest, "echo@int8"), warm=warm)


@asynccontextmanager
async def forked(home: Path) -> AsyncIterator[tuple[EngineProcess, WarmedProcess]]:
    """An engine that is not started yet, and the process that will fork it."""
    warmed = WarmedProcesses(home / "logs")
    engine = EngineProcess("echo@int8", launched(home), home / "engine.log", warmed)
    try:
        yield engine, await warmed.prepare(SCRIPTED)
    finally:
        await engine.stop()
        await warmed.close()


async def test_a_forked_engine_is_as_one_that_was_started(tmp_path: Path) -> None:
    async with forked(tmp_path) as (engine, warmed):
        niceness = os.nice(0)
        async with httpx.AsyncClient(base_url=await engine.start()) as client:
            assert (await client.get("/health")).status_code == 401
            assert (await client.get("/health", headers=engine.headers)).status_code == 200
        process = psutil.Process(engine.pid)
        assert isinstance(engine.process, ForkedProcess)
        assert process.ppid() == warmed.process.pid
        assert process.cmdline()[1:3] == ["-m", "serve.engines.scripted.engine"]
        assert engine.secret not in " ".join(process.cmdline())
        assert process.nice() == niceness
        assert os.getsid(engine.pid) == engine.pid
        assert os.path.samefile(f"/proc/{engine.pid}/fd/1", engine.log)
        assert os.path.samefile(f"/proc/{engine.pid}/fd/2", engine.log)
        assert collect(Store(tmp_path), Catalog(tmp_path)).removed == ()
        engine.process.kill()
        assert await engine.process.wait() == -signal.SIGKILL
        assert len(collect(Store(tmp_path), Catalog(tmp_path)).removed) == 1


async def test_one_warmed_process_forks_several_engines_and_they_end_politely(tmp_path: Path) -> None:
    async with forked(tmp_path) as (first, warmed):
        second = EngineProcess("echo@int8", first.launch, tmp_path / "second.log", first.warmed)
        try:
            await first.start()
            await second.start()
            assert {child.pid for child in psutil.Process(warmed.process.pid).children()} == {first.pid, second.pid}
            assert first.process is not None
            await first.stop()
            assert first.process.returncode == -signal.SIGTERM
            await second.check_answers()
        finally:
            await second.stop()


async def test_a_warmed_process_that_is_killed_is_replaced_and_its_engines_start_again(tmp_path: Path) -> None:
    async with forked(tmp_path) as (engine, warmed):
        artifact = make_artifact(tmp_path, "echo", "int8", "text-generation")
        probe = probe_of(artifact.manifest, "echo@int8")
        async with begun(Supervisor(engine, probe, lambda: None, times=QUICK)) as supervisor:
            assert supervisor.fault is None
            before = psutil.Process(engine.pid)
            warmed.process.kill()
            await until(lambda: supervisor.restarts == 1 and supervisor.fault is None)
            assert not before.is_running() or before.status() == psutil.STATUS_ZOMBIE
            assert isinstance(engine.process, ForkedProcess)
            assert engine.warmed is not None
            assert engine.warmed.by_what[SCRIPTED].process.pid == psutil.Process(engine.pid).ppid()


async def test_where_warming_fails_the_command_is_run(tmp_path: Path) -> None:
    warmed = WarmedProcesses(tmp_path / "logs")
    launching = launched(tmp_path, Warm("broken", ("serve.engines.no_such_module",)))
    engine = EngineProcess("echo@int8", launching, tmp_path / "engine.log", warmed)
    try:
        await engine.start()
        assert not isinstance(engine.process, ForkedProcess)
        assert "no_such_module" in (tmp_path / "logs" / "broken.log").read_text()
    finally:
        await engine.stop()
        await warmed.close()


async def test_a_fork_that_fails_harms_no_other_engine(tmp_path: Path) -> None:
    warmed = WarmedProcesses(tmp_path / "logs")
    launching = launched(tmp_path, Warm("failing", (*SCRIPTED.modules, "tests.support.second_fork_fails")))
    engines = [EngineProcess("echo@int8", launching, tmp_path / f"{number}.log", warmed) for number in range(3)]
    try:
        for engine in engines:
            await engine.start()
        assert [isinstance(engine.process, ForkedProcess) for engine in engines] == [True, False, True]
        for engine in engines:
            await engine.check_answers()
    finally:
        for engine in engines:
            await engine.stop()
        await warmed.close()


async def test_warmed_processes_without_engines_end(tmp_path: Path) -> None:
    async with forked(tmp_path) as (engine, warmed):
        assert engine.warmed is not None
        await engine.start()
        await engine.warmed.close_idle()
        assert warmed.running
        await engine.stop()
        await until(lambda: not warmed.engines)
        await engine.warmed.close_idle()
        assert not warmed.running
        assert not psutil.pid_exists(warmed.process.pid)


async def test_an_engine_whose_log_was_removed_ends_with_a_reason(tmp_path: Path) -> None:
    async with forked(tmp_path) as (engine, _):
        await engine.start()
        engine.log.unlink()
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: not engine.running)
        with pytest.raises(EngineDown, match="its log cannot be read"):
            engine.check()


def test_they_go_when_the_server_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHANS, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word.strip("[], \n")) for word in parent.stdout.readline().split(",")]
        processes = [psutil.Process(pid) for pid in pids]
        assert len(processes) == 2
        parent.kill()
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        process.kill()
    assert alive == []
