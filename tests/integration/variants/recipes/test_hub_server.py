"""The hub over HTTP: a server of the hub's API on loopback (HF_ENDPOINT), and huggingface_hub as it is.

The API: https://huggingface.co/docs/hub/api, and the headers that huggingface_hub reads (`X-Repo-Commit`,
`X-Error-Code`).
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from serve.ports import free_port
from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.integration.variants.recipes.test_hub import FETCH

pytestmark = pytest.mark.integration
TOKEN = "hf_of_an_account_with_access"  # noqa: S105
FIRST, SECOND = "1" * 40, "2" * 40
Files = dict[str, bytes]


class Hub(ThreadingHTTPServer):
    """`repositories` has the files of each commit, by repository; `heads` the commit of each branch. Files of a `gated`
    repository need TOKEN."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, Files]] = {}
        self.heads: dict[tuple[str, str], str] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def publish(self, repo: str, commit: str, files: Files) -> None:
        self.repositories.setdefault(repo, {})[commit] = files
        self.heads[repo, "main"] = commit


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        path = re.sub(r"^(/api/models/[^/]+/[^/]+)$", r"\1/revision/main", path)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        if match is None or match[1] not in self.server.repositories:
            return self.fail(HTTPStatus.UNAUTHORIZED, "RepoNotFound")
        repo, revision = match[1], match[3] if api else match[2]
        commit = self.server.heads.get((repo, revision), revision)
        files = self.server.repositories[repo].get(commit)
        if files is None:
            return self.fail(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        if api and api[2] == "revision":
            return self.answer({"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]})
        if api:
            return self.answer([
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324
                for name, data in files.items()
            ])  # fmt: skip
        if repo in self.server.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.fail(HTTPStatus.FORBIDDEN, "GatedRepo")
        if match[3] not in files:
            return self.fail(HTTPStatus.NOT_FOUND, "EntryNotFound")
        data = files[match[3]]
        etag = hashlib.sha1(data).hexdigest()  # noqa: S324  # as git names a file
        return self.send(HTTPStatus.OK, data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def answer(self, document: Any) -> None:
        self.send(HTTPStatus.OK, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def fail(self, status: HTTPStatus, code: str) -> None:
        self.send(status, b"", {"X-Error-Code": code})

    def send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in `asked`."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def single(weights: bytes = b"weights") -> Files:
    return {"config.json": b"{}", "model.safetensors": weights, "model.gguf": b"GGUF" + weights, "README.md": b"# Tiny"}


def environment(endpoint: str, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    return own | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_ETAG_TIMEOUT": "2"} | more


def fetched(uri: str, home: Path, endpoint: str, **more: str) -> dict[str, str]:
    own = environment(endpoint, HF_HOME=str(home / "hf"), **more)
    command = [sys.executable, "-c", FETCH, json.dumps({"uri": uri, "licence": "MIT"}), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_a_name_stays_at_the_commit_of_its_first_fetch(hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/tiny", FIRST, single())
    first = fetched("org/tiny", tmp_path, hub.url)
    assert (Path(first["path"]) / "model.safetensors").read_bytes() == b"weights"
    assert {each.name for each in Path(first["path"]).iterdir()} == {"config.json", "model.safetensors"}
    hub.publish("org/tiny", SECOND, single(b"other weights"))
    assert fetched("hf:org/tiny", tmp_path, hub.url) == first
    newer = fetched(f"org/tiny@{SECOND}", tmp_path, hub.url)
    assert (Path(newer["path"]) / "model.safetensors").read_bytes() == b"other weights"
    (tmp_path / "sources" / "hub" / "models--org--tiny" / "refs" / "main").unlink()
    assert fetched("org/tiny", tmp_path, hub.url) == newer


def test_a_sharded_checkpoint_comes_whole(hub: Hub, tmp_path: Path) -> None:
    shards = {f"model-0000{number}-of-00002.safetensors": bytes([number]) for number in (1, 2)}
    hub.publish("org/tiny", FIRST, {"config.json": b"{}", "model.safetensors.index.json": b"{}", **shards})
    folder = Path(fetched("org/tiny", tmp_path, hub.url)["path"])
    assert {name: (folder / name).read_bytes() for name in shards} == shards
    assert (folder / "model.safetensors.index.json").is_file()


def test_an_openvino_ir_comes_with_both_files(hub: Hub, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "openvino_model.xml": b"<net/>", "openvino_model.bin": b"weights"}
    hub.publish("org/tiny", FIRST, files)
    folder = Path(fetched("org/tiny", tmp_path, hub.url)["path"])
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == files


def test_one_file_of_a_repository(hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/tiny", FIRST, single() | {"small/q4.gguf": b"GGUF small"})
    one = fetched("hf:org/tiny/model.gguf", tmp_path, hub.url)
    assert Path(one["path"]).read_bytes() == b"GGUFweights"
    assert one["sha256"] == hashlib.sha256(b"GGUFweights").hexdigest()
    other = fetched(f"hf:org/tiny/small/q4.gguf@{FIRST}", tmp_path, hub.url)
    assert Path(other["path"]).read_bytes() == b"GGUF small"
    assert not any("safetensors" in path for path in hub.asked)


def test_what_was_fetched_is_found_without_a_connection(hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/tiny", FIRST, single())
    first = {uri: fetched(uri, tmp_path, hub.url) for uri in ("org/tiny", "hf:org/tiny/model.gguf")}
    for uri, answer in first.items():
        assert fetched(uri, tmp_path, f"http://127.0.0.1:{free_port()}") == answer
        assert fetched(uri, tmp_path, hub.url, HF_HUB_OFFLINE="1") == answer


def test_each_reason_is_one_sentence_with_its_mend(hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/tiny", FIRST, single())
    hub.publish("org/closed", FIRST, single())
    hub.gated.add("org/closed")

    def says(uri: str, why: str, mend: str, endpoint: str = hub.url, **more: str) -> None:
        answer = fetched(uri, tmp_path / uri.replace("/", "-"), endpoint, **more)
        assert answer.get("error") == "SourceError", answer
        assert answer["text"] == f"source.uri: {uri} could not be fetched from the hub: {why} ({mend})"

    page = f"ask for access at {hub.url}/org/closed, and set HF_TOKEN to a token of that account"
    says("org/closed", "org/closed is gated", page)
    says("hf:org/closed/model.gguf", "org/closed is gated", page)
    absent = "there is no repository org/absent, or it is private"
    says("org/absent", absent, "check the id; a private one needs HF_TOKEN")
    says("org/tiny@v9", "org/tiny has no revision 'v9'", "name a branch, a tag or a commit of it")
    says(f"org/tiny@{'9' * 40}", f"org/tiny has no revision '{'9' * 40}'", "name a branch, a tag or a commit of it")
    says("hf:org/tiny/q8.gguf", "org/tiny has no file q8.gguf", "name a file of that repository")
    offline = "it is not in the cache, and HF_HUB_OFFLINE is set"
    says("org/tiny", offline, "unset HF_HUB_OFFLINE to fetch it", HF_HUB_OFFLINE="1")
    nowhere = f"http://127.0.0.1:{free_port()}"
    for uri in ("org/tiny", "hf:org/tiny/model.gguf"):
        mend = "check the connection; HF_ENDPOINT names another hub"
        says(uri, f"there is no connection to {nowhere}", mend, endpoint=nowhere)


def test_a_token_opens_a_gated_repository(hub: Hub, tmp_path: Path) -> None:
    hub.publish("org/closed", FIRST, single())
    hub.gated.add("org/closed")
    assert "path" in fetched("org/closed", tmp_path, hub.url, HF_TOKEN=TOKEN)


def test_a_build_says_which_commit_it_was_made_from(hub: Hub, tmp_path: Path) -> None:
    folder = write_tiny_text(tmp_path / "model")
    hub.publish("org/tiny", FIRST, {path.name: path.read_bytes() for path in folder.iterdir()})
    recipe = {"kind": "baseline", "dtype": "float32"}
    variants = {"baseline": {"recipe": recipe, "engine": {"kind": "vllm"}, "weight": 1}}
    source = {"uri": "org/tiny", "licence": "MIT"}
    stack = {"schema": 1, "models": {"tiny": {"task": "text-generation", "source": source, "variants": variants}}}
    (tmp_path / "stack.yaml").write_text(json.dumps(stack))
    own = environment(hub.url, UNDERSTUDY_HOME=str(tmp_path / "home"))
    command = [sys.executable, "-m", "serve.cli", "build", str(tmp_path / "stack.yaml")]
    subprocess.run(command, check=True, env=own)
    (path,) = (tmp_path / "home" / "artifacts").rglob("manifest.json")
    assert json.loads(path.read_text())["commits"] == {"org/tiny": FIRST}
