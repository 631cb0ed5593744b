"""A scripted server on a free port, and tasks of its own: no weights, no data, no network."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.ports import free_port
from variants.tasks import Example

PNG = b"\x89PNG\r\n\x1a\n"


class MadeTask:
    """`reviews`: 240 prompts of 30 words; `pictures`: 300 pictures. Only the test split is there."""

    def __init__(self, name: str) -> None:
        self.name, self.fields = name, dict[str, object]()
        self.kind = "text" if name == "reviews" else "image"
        self.labels = (" positive", " negative") if self.kind == "text" else ("0", "1")

    def examples(self, split: str, n: int | None = None) -> list[Example]:
        assert split == "test"
        if self.kind == "image":
            examples = [Example(f"picture-{k}", PNG + b"%d" % k, self.labels[k % 2]) for k in range(300)]
        else:
            examples = [
                Example(f"review-{k}", " ".join(f"w{k}x{word}" for word in range(30)), self.labels[k % 2])
                for k in range(240)
            ]
        return examples[:n]


class ScriptedServer:
    """The process and its address."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url

    def control(self, **facts: object) -> None:
        request = urllib.request.Request(f"{self.url}/control", data=json.dumps(facts).encode())  # noqa: S310
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310  # the test's own server


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    port = free_port()
    script = Path(__file__).parent / "scripted_server.py"
    process = subprocess.Popen([sys.executable, str(script), str(port)])
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield ScriptedServer(process, f"http://127.0.0.1:{port}")
    process.kill()
    process.wait()


@pytest.fixture
def get_task() -> Callable[[str], Any]:
    return MadeTask
