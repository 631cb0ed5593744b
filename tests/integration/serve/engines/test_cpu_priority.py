"""An engine that only replays ask computes with what others leave, until a client asks it."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from serve.engines import cpu_priority
from serve.ports import free_port
from tests.support.family import Family
from tests.support.labelled_load import labelled
from tests.support.local_stage import local

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not cpu_priority.can_restore(), reason="a priority given up here cannot be taken back"),
]
TREE = """
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"])
child.wait()
"""


@pytest.fixture
def tree() -> Iterator[int]:
    """A process of two threads, in a session of its own, with a child."""
    with subprocess.Popen([sys.executable, "-c", TREE], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        for each in [*psutil.Process(process.pid).children(), process]:
            each.kill()


def threads(pid: int) -> list[int]:
    """Of a process and its children."""
    processes = [pid, *(child.pid for child in psutil.Process(pid).children())]
    return [int(thread.name) for each in processes for thread in Path(f"/proc/{each}/task").iterdir()]


def policies(pid: int) -> list[int]:
    return [os.sched_getscheduler(thread) for thread in threads(pid)]


def processors(pid: int) -> list[set[int]]:
    return [os.sched_getaffinity(thread) for thread in threads(pid)]


def session_niceness(pid: int) -> str:
    file = Path(f"/proc/{pid}/autogroup")
    return file.read_text().split()[-1] if file.exists() else "no sessions"


def test_every_thread_gives_way_and_returns(tree: int) -> None:
    before, usual = session_niceness(tree), os.sched_getaffinity(0)
    assert policies(tree) == [os.SCHED_OTHER] * 3
    cpu_priority.lower(tree)
    assert policies(tree) == [os.SCHED_IDLE] * 3
    half = set(sorted(usual)[len(usual) // 2 :])
    assert processors(tree) == [half] * 3
    assert session_niceness(tree) in ("19", "no sessions")
    assert cpu_priority.is_lowered(tree)
    time.sleep(0.2)  # unprivileged, a session's niceness may be changed ten times a second
    cpu_priority.restore(tree)
    assert policies(tree) == [os.SCHED_OTHER] * 3
    assert processors(tree) == [usual] * 3
    assert session_niceness(tree) == before
    assert not cpu_priority.is_lowered(tree)


def test_a_process_that_is_gone_is_not_spare() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert not cpu_priority.is_lowered(process.pid)
    cpu_priority.lower(process.pid)


async def test_a_variant_gives_way_while_only_replays_ask_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    async with local(tmp_path, family.stack, family.artifacts) as served:
        shadowed, parent = (served.engine("echo", name).pid for name in ("int8", "baseline"))
        moved = await served.client.put(
            "/admin/v1/models/echo/traffic",
            json={"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}},
            headers={"if-match": "*"},
        )
        assert moved.status_code == 200, moved.text
        assert not cpu_priority.is_lowered(shadowed)
        async with asyncio.timeout(60), labelled(str(served.client.base_url), "echo", 1):
            while not cpu_priority.is_lowered(shadowed):
                await asyncio.sleep(0.01)
        assert not cpu_priority.is_lowered(parent)
        answer = await served.client.post("/v1/completions", json={"model": "echo@int8", "prompt": "hello"})
        assert answer.status_code == 200, answer.text
        assert not cpu_priority.is_lowered(shadowed)
        async with labelled(str(served.client.base_url), "echo", 1) as load:
            while len(load.ids) < 5:
                await asyncio.sleep(0.01)
        assert not cpu_priority.is_lowered(shadowed)  # a client named it a moment ago
