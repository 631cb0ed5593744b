"""Which signals interrupt a demo or a benchmark, and that what follows does not disturb its end."""

import signal
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

CODE = """
import signal, sys, time
from loadtest.harness import ends_in_words
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "nohup" else signal.SIG_DFL)
with ends_in_words("demo"):
    try:
        print("ready", flush=True)
        time.sleep(30 if sys.argv[1] != "nohup" else 0.5)
    finally:
        print("ending", flush=True)
        time.sleep(0.5)
        print("ended", flush=True)
"""


def begin(how: str = "") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, how], cwd=ROOT, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_once(number: signal.Signals) -> None:
    process = begin()
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ending\n"
    process.send_signal(number)  # an impatient second one
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"ended\n")
    assert err == b"demo: interrupted; everything it started has been ended\n"


def test_a_closed_terminal_does_not_end_what_nohup_runs() -> None:
    process = begin("nohup")
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"ending\nended\n")
