"""The supervisor of test runs: it ends what a command leaves behind, and hands a signal on once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SUPERVISE = [sys.executable, str(ROOT / ".ci" / "supervise.py")]
ORPHAN = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)"
WAITING = f"{ORPHAN}; import time; time.sleep(60)"


def wait_for_end(pid: int) -> None:
    """A killed process is a zombie until pid 1 takes note of it."""
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_commands_exit_code_is_passed_on() -> None:
    assert subprocess.run([*SUPERVISE, sys.executable, "-c", "raise SystemExit(3)"], timeout=60).returncode == 3
    assert subprocess.run([*SUPERVISE, "true"], timeout=60).returncode == 0


def test_a_process_that_is_left_behind_is_named_and_ended() -> None:
    # The grace for processes that are about to end is cut short: this one is not.
    code = "import supervise, sys; supervise.GRACE_S = 0.5; sys.exit(supervise.supervise(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", code, sys.executable, "-c", ORPHAN],
        capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT / ".ci")},
    )  # fmt: skip
    assert ended.returncode == 1
    assert "left running, ended now: " in ended.stderr
    assert "sleep 60" in ended.stderr
    wait_for_end(int(ended.stdout))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_all_that_it_started(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*SUPERVISE, sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # these tests may run under nohup
    )  # fmt: skip
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    wait_for_end(orphan)


def test_a_closed_terminal_does_not_end_what_nohup_runs() -> None:
    code = "import os, signal; os.kill(os.getppid(), signal.SIGHUP)"
    ended = subprocess.run(["nohup", *SUPERVISE, sys.executable, "-c", code], capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
