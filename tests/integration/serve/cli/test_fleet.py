"""`understudy status` and `understudy top` against a real server."""

import json
import pty
import re
import signal
import subprocess
import sys
from io import FileIO

import httpx
import pytest

from tests.integration.conftest import Served

pytestmark = pytest.mark.integration
UNDERSTUDY = [sys.executable, "-m", "serve.cli"]


def test_status_counts_what_was_sent(served: Served) -> None:
    def int8() -> dict[str, object]:
        done = subprocess.run(
            [*UNDERSTUDY, "status", "--json", "--target", served.url], capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return next(row for row in json.loads(done.stdout) if (row["model"], row["variant"]) == ("echo", "int8"))

    before = int8()
    body = {"model": "echo@int8", "prompt": "a b", "max_tokens": 2}
    for _ in range(3):
        assert httpx.post(f"{served.url}/v1/completions", json=body).status_code == 200
    now = int8()
    assert now["requests"] == before["requests"] + 3
    assert now["ready"]
    assert now["p95_s"]


def test_every_line_of_the_table_fits_80_columns(served: Served) -> None:
    done = subprocess.run([*UNDERSTUDY, "status", "--target", served.url], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert {"echo@baseline", "echo@int8"} <= {line.split()[0] for line in lines}
    assert max(map(len, lines)) <= 80


def test_no_server_is_one_line() -> None:
    done = subprocess.run(
        [*UNDERSTUDY, "status", "--target", "http://127.0.0.1:9"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert re.fullmatch(r"understudy: .*is the server up.*\n", done.stderr)


def test_top_shows_rates_until_ctrl_c(served: Served) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*UNDERSTUDY, "top", "--every", "0.5", "--target", served.url], stdin=theirs, stdout=theirs, stderr=theirs
    )
    with FileIO(ours) as screen:
        seen = b""
        while b"req/s" not in seen:
            seen += screen.read(4096) or b""
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert b"echo@int8" in seen
    assert b"Traceback" not in seen
