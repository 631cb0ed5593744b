"""A supervisor over a real engine process: what it notices, what it ends, and how the engine comes back."""

import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serve.engines.endpoint import EngineDown
from serve.engines.launch import launch
from serve.engines.probe import Probe, probe_of
from serve.engines.process import EngineProcess
from serve.engines.supervisor import Supervisor
from tests.integration.serve.engines.supervised import QUICK, begun, until
from tests.support.scripted import make_artifacts, make_stack
from variants.artifacts.store import open_artifact

pytestmark = pytest.mark.integration


@asynccontextmanager
async def supervised(
    home: Path, model: str = "echo", doubted: bool = False, damage: Callable[[Path], None] | None = None, **script: Any
) -> AsyncIterator[Supervisor]:
    """The supervisor of a scripted engine, begun. `damage` is given the artifact's folder before."""
    stack = make_stack(**script)
    artifact = make_artifacts(home, stack)[model, "baseline"]
    name = f"{model}@baseline"
    how = launch(stack.models[model].variants["baseline"].engine, artifact.path, artifact.manifest, name)
    engine = EngineProcess(name, how, home / "engine.log")
    probe = probe_of(artifact.manifest, name)
    probe = Probe(probe.path, probe.body, probe.fault_of, limit_s=2)
    supervisor = Supervisor(engine, probe, lambda: open_artifact(artifact.path), doubted=doubted, times=QUICK)
    if damage:
        damage(artifact.path)
    async with begun(supervisor):
        yield supervisor


async def fault_of(supervisor: Supervisor) -> EngineDown:
    """The fault that the next test request shows."""
    with pytest.raises(EngineDown) as raised:
        await supervisor.ask()
    return raised.value


@pytest.mark.parametrize(
    ("model", "script", "why", "says"),
    [
        ("echo", {"garble_after": 1}, "wrong", "a log probability is not finite"),
        ("bands", {"garble_after": 1}, "wrong", "a score is not finite"),
        ("near", {"garble_after": 1}, "wrong", "the embedding is zero or not finite"),
        ("echo", {"hang_after": 1}, "hung", "did not answer a test request within 2 s"),
        ("bands", {"hang_after": 1}, "hung", "did not answer a test request within 2 s"),
        ("near", {"fail_after": 1}, "wrong", "with status 500"),
    ],
)
async def test_an_engine_that_hangs_or_answers_garbage_is_found_out_and_started_again(
    model: str, script: dict[str, Any], why: str, says: str, tmp_path: Path
) -> None:
    async with supervised(tmp_path, model, **script) as supervisor:
        supervisor.check()
        first = supervisor.engine.pid
        fault = await fault_of(supervisor)
        assert fault.why == why
        assert says in str(fault)
        with pytest.raises(EngineDown):
            supervisor.check()
        await until(lambda: supervisor.fault is None)
        assert supervisor.engine.pid != first
        supervisor.check()


async def test_an_engine_that_dies_comes_back_at_once_and_then_after_growing_pauses(tmp_path: Path) -> None:
    async with supervised(tmp_path) as supervisor:
        for pause_s in (0.0, 0.2, 0.4, 0.8, 0.8):
            assert supervisor.pause_s() == pytest.approx(pause_s)
            pid, killed = supervisor.engine.pid, time.monotonic()
            supervisor.engine.process.send_signal(signal.SIGKILL)
            await until(lambda: supervisor.fault is not None)
            assert supervisor.fault is not None
            assert supervisor.fault.why == "ended"
            await until(lambda: supervisor.fault is None)
            assert supervisor.engine.pid != pid
            assert time.monotonic() - killed > pause_s


async def test_an_engine_that_does_not_say_that_it_is_healthy_gets_no_requests_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.engines.process.HEALTH_LIMIT_S", 0.5)
    async with supervised(tmp_path) as supervisor:
        first = supervisor.engine.process
        assert first is not None
        first.send_signal(signal.SIGSTOP)
        await until(lambda: supervisor.unwell is not None)
        assert first.returncode is None  # it is avoided before it is ended
        with pytest.raises(EngineDown, match="lives but is not healthy"):
            supervisor.check()
        monkeypatch.setattr("serve.engines.process.STOP_LIMIT_S", 0.5)
        await until(lambda: first.returncode is not None and supervisor.fault is None)


async def test_a_damaged_artifact_is_not_served_until_it_is_repaired(tmp_path: Path) -> None:
    whole: dict[Path, bytes] = {}

    def damage(folder: Path) -> None:
        file = folder / "model" / "weights"
        whole[file] = file.read_bytes()
        file.write_bytes(b"other")

    async with supervised(tmp_path, doubted=True, damage=damage) as supervisor:
        assert supervisor.engine.process is None  # it was never started
        with pytest.raises(EngineDown, match="expected sha256") as raised:
            supervisor.check()
        assert raised.value.why == "damaged"
        for file, content in whole.items():
            file.write_bytes(content)
        await until(lambda: supervisor.fault is None)
        supervisor.check()
        await supervisor.ask()


async def test_an_engine_that_never_starts_is_down_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with supervised(tmp_path, exit_after=0) as supervisor:
        assert supervisor.fault is not None
        assert "ended with code 1" in str(supervisor.fault)
        assert str(tmp_path / "engine.log") in str(supervisor.fault)
        tried = supervisor.starts
        await until(lambda: supervisor.starts >= tried + 2)
        assert supervisor.pause_s() == pytest.approx(0.8)
