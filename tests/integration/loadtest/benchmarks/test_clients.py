"""A slice of `make clients`: the runner on scripted engines, with the openai and tritonclient packages of this
environment, and that it tells wrong answers from right ones."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loadtest.benchmarks.clients.__main__ import CLIENTS, Server, ask_all
from loadtest.benchmarks.clients.client import Served
from loadtest.benchmarks.clients.served import variants_of
from serve.client.admin import ask
from tests.integration.conftest import Served as OnScripted
from variants.artifacts.store import Store
from variants.errors import MissingDependency

pytestmark = pytest.mark.integration
HERE = [client for client in CLIENTS if client.package in ("openai", "tritonclient")]
ROWS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {name: {"type": "string", "minLength": 1} for name in ("client", "version", "variant", "detail")}
        | {"passed": {"type": "boolean"}},
        "required": ["client", "version", "variant", "passed", "detail"],
        "additionalProperties": False,
    },
}


def programs(package: str) -> Path:
    """This environment's programs: it has the package."""
    return Path(sys.executable).parent


def test_clients_are_run_against_each_variant_of_their_tasks(served: OnScripted, tmp_path: Path) -> None:
    assert served.home
    out = tmp_path / "out"
    variants = variants_of(ask(served.url, "GET", "/admin/v1/stack"), Store(served.home))
    assert len(variants) == 5
    wrong = Served("echo@nothing", "text-generation")
    asked = [*(each for each in variants if each.name != "near@baseline"), wrong]
    rows = ask_all(Server(served.url, f"127.0.0.1:{served.grpc_port}"), asked, HERE, out, programs)
    written = json.loads((out / "clients.json").read_bytes())
    jsonschema.validate(written, ROWS)
    assert written == [row.model_dump() for row in rows]
    assert Counter((row.client, row.variant.partition("@")[0]) for row in rows) == {
        ("openai", "echo"): 3, ("openai", "near"): 1,
        ("tritonclient[http]", "near"): 1, ("tritonclient[http]", "bands"): 1,
        ("tritonclient[grpc]", "near"): 1, ("tritonclient[grpc]", "bands"): 1,
    }  # fmt: skip
    failed = [row for row in rows if not row.passed]
    assert [(row.client, row.variant) for row in failed] == [("openai", "echo@nothing")], failed
    assert "the list of models lacks the variant" in failed[0].detail
    chats = next(row for row in rows if row.variant == "echo@int8")
    assert "2 choices" in chats.detail
    assert "log probabilities" in chats.detail


def vectors(*rows: list[float]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": k, "embedding": row} for k, row in enumerate(rows)]
    return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}}


@contextmanager
def answering(document: dict[str, Any], asked: list[str], not_ready: int = 0) -> Iterator[str]:
    """A server that answers `document` to every POST, and is ready after `not_ready` questions for it. Writes what it
    is asked to `asked`. Gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append("GET")
            self.send_response(503 if asked.count("GET") <= not_ready else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            asked.append("POST")
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (vectors([0.5, 0.5], [1.0, 0.0], [0.0, 1.0]), None),
        (vectors([0.5, 0.5], [1.0, 0.0]), "three texts do not give three vectors"),
        (vectors([0.5, 0.5], [1.0, 0.0], [0.0, float("nan")]), "not finite"),
        (vectors([0.5, 0.5], [1.0, 0.0], [0.0, 0.0]), "a vector is zero"),
        (vectors([0.5, 0.5], [1.0, 0.0], [0.0, 1.0, 2.0]), "differ in length"),
    ],
)
def test_a_wrong_answer_fails_its_client(document: dict[str, Any], says: str | None, tmp_path: Path) -> None:
    with answering(document, []) as url:
        (row,) = ask_all(Server(url, ""), [Served("m@x", "feature-extraction")], HERE[:1], tmp_path, programs)
    assert row.passed is (says is None), row
    assert says is None or says in row.detail


def test_a_client_is_run_when_its_variant_is_ready(tmp_path: Path) -> None:
    asked: list[str] = []
    with answering(vectors([0.5, 0.5], [1.0, 0.0], [0.0, 1.0]), asked, not_ready=2) as url:
        (row,) = ask_all(Server(url, ""), [Served("m@x", "feature-extraction")], HERE[:1], tmp_path, programs)
    assert row.passed, row
    assert asked == ["GET", "GET", "GET", "POST", "POST"]


def test_a_client_without_an_environment_is_named(tmp_path: Path) -> None:
    missing = HERE[0]._replace(package="no-such-client")
    with pytest.raises(MissingDependency, match="no-such-client is not installed"):
        ask_all(Server("http://127.0.0.1:1", ""), [], [missing], tmp_path, programs)
