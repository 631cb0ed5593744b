"""What the command line imports must not bring gevent's patches, or torch, into its process."""

import subprocess
import sys
from pathlib import Path

PROBE = """
import socket, sys, threading
before = socket.socket, threading.Thread.start
import loadtest.worker.parent, loadtest.campaign.schema, loadtest.progress
import loadtest.results.summary, loadtest.results.table, loadtest.results.page
assert (socket.socket, threading.Thread.start) == before
for name in ("gevent", "locust", "torch", "ray"):
    assert name not in sys.modules, name
"""


def test_the_command_lines_process_stays_as_it_was() -> None:
    root = Path(__file__).parents[3]
    probe = subprocess.run([sys.executable, "-c", PROBE], cwd=root, capture_output=True, text=True, timeout=60)
    assert probe.returncode == 0, probe.stderr
