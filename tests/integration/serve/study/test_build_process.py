"""Building one variant in a process of its own: what it makes, how it says no, and how it ends when it is killed."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from serve.config.loader import parse
from serve.config.stack import Stack
from serve.study.build_process import make, make_in_child
from tests.support.study import scripted_stack
from variants.artifacts.store import Store
from variants.errors import EngineError, UnderstudyError
from variants.home import home

pytestmark = pytest.mark.integration
LINE = [("bands", "baseline")]
LITTLE = 256 << 20
"""Bytes of address space: enough to begin with, too few to load torch."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def configured(weights: Path, task: str, config: str) -> Stack:
    """A baseline of `words` from a folder that holds a config and no weights."""
    weights.mkdir()
    (weights / "config.json").write_text(config)
    variant = {"recipe": {"kind": "baseline", "dtype": "float32"}, "engine": {"kind": "scripted"}, "weight": 1}
    source = {"uri": str(weights), "licence": "Apache-2.0"}
    model = {"task": task, "source": source, "variants": {"baseline": variant}}
    return parse({"schema": 1, "models": {"words": model}})


def test_why_a_build_failed_comes_back_in_its_own_words() -> None:
    with pytest.raises(UnderstudyError, match="/nowhere/weights"):
        make(scripted_stack(), LINE)
    with pytest.raises(UnderstudyError, match="/nowhere/weights"):
        make_in_child(scripted_stack(), LINE)


def test_a_build_that_is_killed_is_an_error_that_names_memory() -> None:
    others = {child.pid for child in psutil.Process().children()}

    def kill() -> None:
        while not (children := [child for child in psutil.Process().children() if child.pid not in others]):
            time.sleep(0.01)
        os.kill(children[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(EngineError, match="the build was killed"):
        make_in_child(scripted_stack(), LINE)
    killer.join()


def test_a_build_that_runs_out_of_memory_is_an_error_and_leaves_no_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = configured(tmp_path / "weights", "text-generation", "{}")
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (LITTLE, LITTLE))
    monkeypatch.setattr("subprocess.Popen", partial(subprocess.Popen, preexec_fn=limit))
    with pytest.raises(UnderstudyError, match=r"failed to map|[Mm]emory|ended with code"):
        make(stack, [("words", "baseline")])
    assert Store(home()).stored() == []


def test_ctrl_c_ends_a_build_that_a_shell_began_in_the_background() -> None:
    """Such a shell has its children ignore SIGINT, and theirs inherit it."""
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(
        [sys.executable, "-m", "serve.study.build_process"], stdin=subprocess.PIPE, preexec_fn=ignore
    )
    deadline = time.monotonic() + 60
    while not catches(process.pid, signal.SIGINT):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130


def catches(pid: int, number: signal.Signals) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (number - 1) & 1)


def test_an_error_of_many_lines_comes_back_whole(tmp_path: Path) -> None:
    stack = configured(tmp_path / "weights", "image-classification", '{"model_type": "no such architecture"}')
    with pytest.raises(UnderstudyError, match=r"models\.words\.source\.uri: .*cannot read .*no such architecture"):
        make_in_child(stack, [("words", "baseline")])
