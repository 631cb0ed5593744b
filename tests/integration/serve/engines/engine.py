"""Starts an engine of ours as a test's child, and makes the artifacts that it serves."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serve.config.stack import VllmEngine
from serve.engines.launch import launch
from serve.ports import free_port
from variants.artifacts.store import read_manifest
from variants.files import digest_of, hash_folder

START_LIMIT_S = 240


@dataclass(frozen=True)
class Engine:
    """A ready engine."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """host:port, as tritonclient wants it."""
        return self.url.removeprefix("http://")

    def post(self, path: str, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> Any:
        """The status and the JSON of an answer, errors too."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | (headers or {})
        answer = httpx.post(self.url + path, content=data, headers=sent, timeout=60)
        return answer.status_code, answer.json()


def command(kind: str, port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", f"serve.engines.{kind}", "--port", str(port), *options]


def running(kind: str, *options: str) -> AbstractContextManager[Engine]:
    """An engine that is ready. It is ended with SIGTERM, and a test fails where that does not work."""
    port = free_port()
    return ready(command(kind, port, *options), port)


@contextmanager
def running_vllm(folder: Path, name: str, *options: str, **settings: Any) -> Iterator[Engine]:
    """vLLM on the artifact in `folder`, as a stack file with these `settings` starts it, and with more `options`."""
    port = free_port()
    how = launch(VllmEngine(kind="vllm", **settings), folder, read_manifest(folder), name)
    words = [word.replace("{port}", str(port)) for word in how.command]
    with tempfile.TemporaryDirectory() as sockets:
        own = {"VLLM_RPC_BASE_PATH": sockets}
        with ready([*words, *options], port, os.environ | how.environment | own) as engine:
            yield engine


@contextmanager
def ready(command: Sequence[str], port: int, environment: Mapping[str, str] | None = None) -> Iterator[Engine]:
    process = subprocess.Popen(command, env=environment)
    try:
        engine = Engine(f"http://127.0.0.1:{port}", process)
        wait_ready(engine)
        yield engine
        if process.poll() is None:
            process.terminate()
            # vLLM ends with 1 where it had to kill its core, as it may on a busy machine.
            assert process.wait(30) in (0, 1, -15)
    finally:
        process.kill()
        process.wait()


def wait_ready(engine: Engine) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        assert engine.process.poll() is None, "the engine ended before it was ready"
        try:
            assert httpx.get(f"{engine.url}/health").status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"not ready after {START_LIMIT_S} s")


def write_manifest(folder: Path, **fields: Any) -> str:
    """A manifest over what lies in `folder`; gives its digest. `fields` replace the defaults."""
    hashes = hash_folder(folder)
    manifest = {
        "schema": 1,
        "key": "0" * 64,
        "digest": digest_of(hashes),
        "model": "tiny",
        "variant": "baseline",
        "task": "text-generation",
        "method": "test",
        "precision": "f32",
        "recipe": {"kind": "baseline", "dtype": "float32"},
        "seed": 0,
        "parent": None,
        "parent_digest": None,
        "sources": [],
        "files": {name: {"sha256": digest, "bytes": (folder / name).stat().st_size} for name, digest in hashes.items()},
        "bytes": 1,
        "versions": {},
        "created": "2026-01-01T00:00:00Z",
        "format": "huggingface",
        "labels": None,
        "preprocess": None,
        "note": "made in a test",
    } | fields
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return digest_of(hashes)
