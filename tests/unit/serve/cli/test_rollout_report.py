"""`understudy rollout report` and `wait` against an HTTP server that answers as a controller does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serve.cli.main import app
from serve.control.card_beside import CardBeside
from serve.control.pair_evidence import PairEvidence
from variants.errors import InputError
from variants.evidence.betting import Tally

MODEL = "/admin/v1/models/echo"
DOCUMENT = {
    "schema": 1, "id": "r-4", "model": "echo", "variant": "int8", "parent": "baseline", "who": "ops", "step": "shadow",
    "began": "2026-12-01T09:00:00.000+00:00", "ended": None, "status": "running", "why": "begun by ops", "digests": {},
    "plan": {"variant": "int8", "steps": ["shadow"]}, "steps": [], "evidence": [], "verdict": None, "account": None,
    "left_out": [], "engines": {}, "machine": None, "versions": {}, "journal": {"first": 4, "last": 4},
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """`answers` by path; those of a list are given one after the other, the last one for ever."""

    answers: dict[str, list[dict[str, Any]]]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        answers = self.server.answers[self.path]
        body = json.dumps(answers.pop(0) if len(answers) > 1 else answers[0]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(server: Server, *arguments: str) -> Any:
    target = f"http://127.0.0.1:{server.server_address[1]}"
    return CliRunner().invoke(app, ["rollout", *arguments, "--target", target])


def rollout(status: str, queue: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "model": "echo",
        "rollout": {
            "plan": {"variant": "int8", "steps": ["shadow"]}, "parent": "baseline", "step": 0, "status": status,
            "why": "a reason", "queue": queue,
        },
        "verdict": {"decision": "inconclusive", "findings": [], "missing": [], "harm": [], "segments": []},
        **PairEvidence().to_json(),
        "card": CardBeside().to_json(Tally(-1.0, 1.0), 0.05),
        "attempt": {"number": 1, "alpha_to_promote": 0.05},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code"),
    [("promoted", 0), ("rolled back", 9), ("undecided", 10), ("any other end", 10), ("aborted", 11)],
)
def test_the_verdict_is_the_exit_code(server: Server, status: str, code: int) -> None:
    server.answers = {f"{MODEL}/rollout": [rollout("running"), rollout(status)]}
    done = run(server, "wait", "echo", "--json")
    assert done.exit_code == code
    assert json.loads(done.stdout)["rollout"]["status"] == status


@pytest.mark.parametrize("going_on", [rollout("running"), rollout("paused"), rollout("rolled back", queue=("int4",))])
def test_a_wait_ends_when_the_time_is_up(server: Server, going_on: dict[str, Any]) -> None:
    server.answers = {f"{MODEL}/rollout": [going_on]}
    assert run(server, "wait", "echo", "--timeout", "0.1").exit_code == 12


def test_without_a_rollout_there_is_nothing_to_wait_for(server: Server) -> None:
    server.answers = {
        f"{MODEL}/rollout": [{"model": "echo", "rollout": None}],
        f"{MODEL}/rollouts": [{"model": "echo", "rollouts": []}],
    }
    for command in ("wait", "report"):
        with pytest.raises(InputError, match="there was no rollout of echo yet"):
            raise run(server, command, "echo").exception


def test_a_report_is_of_the_latest_rollout_or_of_the_one_named(server: Server) -> None:
    server.answers = {
        f"{MODEL}/rollouts": [{"model": "echo", "rollouts": [{"id": "r-4"}, {"id": "r-2"}]}],
        f"{MODEL}/rollouts/r-4": [DOCUMENT],
        f"{MODEL}/rollouts/r-2": [DOCUMENT | {"id": "r-2"}],
    }
    assert "Rollout r-4 began 2026-12-01 09:00:00 UTC" in run(server, "report", "echo").stdout
    assert "Rollout r-2 began" in run(server, "report", "echo", "r-2").stdout
    assert json.loads(run(server, "report", "echo", "--json").stdout) == DOCUMENT


def test_a_report_is_written_to_a_file(server: Server, tmp_path: Path) -> None:
    server.answers = {f"{MODEL}/rollouts/r-4": [DOCUMENT]}
    done = run(server, "report", "echo", "r-4", "--format", "html", "--out", str(tmp_path / "report.html"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
