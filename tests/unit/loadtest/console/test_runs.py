"""Runs of the console: one at a time, ended with the server, and told apart by what their process left."""

import fcntl
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.console.files import CampaignFile
from loadtest.console.runs import CampaignRuns, Runs
from tests.unit.loadtest.console.test_files import SMALL as SMALL_FILE
from variants.errors import UnknownName

WAITS = (sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(130)")
"""Ends with its standard input, as the real one does."""
REPORTS = (sys.executable, "-c", "import os, sys, pathlib; pathlib.Path(sys.argv[3], 'report.html').write_text('')")
FAILS = (sys.executable, "-c", "import sys; sys.exit('load: the server is gone')")
TELLS = (sys.executable, "-c", "import os; raise SystemExit('load: key ' + os.environ['UNDERSTUDY_KEY'])")
SMALL = CampaignFile("small", Path("/nowhere/small.yaml"))
LIMIT_S = 30.0
"""Detects a hang."""


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_campaign_runs_at_a_time_for_every_ingress(tmp_path: Path) -> None:
    runs, other = Runs(tmp_path, WAITS), Runs(tmp_path, WAITS)
    name = runs.start(SMALL, "http://127.0.0.1:1", "ops")
    assert other.running() == runs.running() == name
    for each in (runs, other):
        with pytest.raises(CampaignRuns, match="another campaign runs"):
            each.start(SMALL, "http://127.0.0.1:1", "ops")
    (run,) = other.latest()
    assert (run.id, run.campaign, run.by, run.state, run.step) == (name, "small", "ops", "running", None)
    step = {"part": "speed", "text": "int8", "done": 1, "of": 4, "left_s": 9.0}
    (tmp_path / name / "progress.json").write_text(json.dumps(step))
    assert other.latest()[0].step == step
    other.stop()
    wait_until(lambda: runs.running() is None)
    assert runs.latest()[0].state == "failed"


def test_a_campaign_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    runs = Runs(tmp_path, WAITS)
    runs.start(SMALL, "http://127.0.0.1:1", "ops")
    assert runs.child is not None
    assert runs.child.stdin is not None
    runs.child.stdin.close()  # as the end of the server's process does
    wait_until(lambda: runs.running() is None)
    assert runs.latest()[0].why == "it ended without a word"


@pytest.mark.parametrize("how", ["stopped", "left alone"])
def test_the_real_child_is_interrupted_though_its_parent_blocks_signals(tmp_path: Path, how: str) -> None:
    """As the threads of a Ray worker do. The server that it asks never answers."""
    (tmp_path / "small.yaml").write_text(SMALL_FILE)
    runs = Runs(tmp_path / "load")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            file = CampaignFile("small", tmp_path / "small.yaml")
            runs.start(file, f"http://127.0.0.1:{silent.getsockname()[1]}", "ops")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        wait_until(lambda: runs.latest()[0].step is not None)
        if how == "stopped":
            runs.stop()
        else:
            assert runs.child is not None
            assert runs.child.stdin is not None
            runs.child.stdin.close()
        wait_until(lambda: runs.running() is None)
    assert runs.latest()[0].why == "interrupted; everything it started has been ended"


@pytest.mark.parametrize(
    ("command", "state", "why"), [(REPORTS, "complete", ""), (FAILS, "failed", "the server is gone")]
)
def test_what_became_of_a_run(tmp_path: Path, command: tuple[str, ...], state: str, why: str) -> None:
    runs = Runs(tmp_path, command)
    runs.start(SMALL, "http://127.0.0.1:1", "ops")
    wait_until(lambda: runs.running() is None)
    (run,) = runs.latest()
    assert (run.state, run.why) == (state, why)


def test_the_key_is_the_childs_alone(tmp_path: Path) -> None:
    runs = Runs(tmp_path, TELLS)
    name = runs.start(SMALL, "http://127.0.0.1:1", "ops", "secret")
    wait_until(lambda: runs.running() is None)
    assert runs.latest()[0].why == "key secret"
    assert "secret" not in (tmp_path / name / "started.json").read_text()


def test_a_run_is_found_by_its_name_and_by_no_path(tmp_path: Path) -> None:
    (tmp_path / "20261201T120000Z-small").mkdir()
    (tmp_path / "other").mkdir()
    runs = Runs(tmp_path)
    assert runs.path("20261201T120000Z-small") == tmp_path / "20261201T120000Z-small"
    assert [run.began for run in runs.latest()] == ["2026-12-01 12:00:00"]
    for name in ("other", "..", "20261201T120000Z-small/../other", "20261201T120000Z-none", ""):
        with pytest.raises(UnknownName):
            runs.path(name)


def test_without_a_run_nothing_runs_and_nothing_is_stopped(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "none")
    assert (runs.running(), runs.latest()) == (None, [])
    runs.stop()


def test_what_others_keep_beside_the_runs_is_passed_over(tmp_path: Path) -> None:
    runs = Runs(tmp_path, REPORTS)
    name = runs.start(SMALL, "http://127.0.0.1:1", "ops")
    wait_until(lambda: runs.running() is None)
    (tmp_path / "20261201T113000Z-archived.tar.gz").write_bytes(b"")
    (tmp_path / "20269901T113000Z-small").mkdir()
    (tmp_path / name / "started.json").write_text("[]")
    assert [(run.id, run.state, run.by) for run in runs.latest()] == [(name, "complete", "")]


def test_figures_without_a_report_are_no_complete_run(tmp_path: Path) -> None:
    runs = Runs(tmp_path, FAILS)
    name = runs.start(SMALL, "http://127.0.0.1:1", "ops")
    wait_until(lambda: runs.running() is None)
    (tmp_path / name / "summary.json").write_text('{"half')
    assert runs.latest()[0].state == "failed"


def test_a_page_that_looks_does_not_keep_a_campaign_from_starting(tmp_path: Path) -> None:
    runs = Runs(tmp_path, WAITS)
    with (tmp_path / "running").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(look, fcntl.LOCK_UN)).start()
        assert runs.start(SMALL, "http://127.0.0.1:1", "ops")
    runs.stop()
    wait_until(lambda: runs.running() is None)
