"""Ctrl-C in the middle of a demo ends everything that it started, and so do SIGTERM and a closed terminal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from serve.config.loader import load, only
from tests.support.long import long_only
from tests.support.processes import ROOT, borrow_home, words_of

pytestmark = pytest.mark.integration


@pytest.fixture
def digits_only(tmp_path: Path) -> Path:
    """The demo's stack with two variants of its smallest model."""
    document = only(load(ROOT / "deploy" / "stacks" / "demo.yaml"), "digits", "baseline", "int8")
    path = tmp_path / "stack.yaml"
    path.write_text(yaml.safe_dump(document.model_dump(mode="json", by_alias=True, exclude_none=True)))
    return path


def engines(pid: int) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if any(word.startswith("serve.engines.") for word in words_of(child))
    ]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(number, marks=long_only) for number in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_a_signal_leaves_nothing_behind(number: signal.Signals, digits_only: Path, tmp_path: Path) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup, and the demo keeps that wish")
    log, environment = tmp_path / "log", os.environ | {"UNDERSTUDY_HOME": str(borrow_home(tmp_path / "home"))}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "--stack", str(digits_only), "--out", str(tmp_path / "out")],
            cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + 600
    while "starting engines" not in log.read_text() or not engines(process.pid):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 5
    process.send_signal(number)
    time.sleep(0.5)
    process.send_signal(number)  # an impatient second one disturbs nothing
    assert process.wait(90) == 130
    _, alive = psutil.wait_procs(children, timeout=20)
    for child in alive:
        child.kill()
    assert alive == []
    assert "Traceback" not in log.read_text()
    assert "everything it started has been ended" in log.read_text()
