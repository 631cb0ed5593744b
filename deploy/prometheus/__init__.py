"""A real Prometheus beside a server, on loopback, with its data in a folder of its own."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from serve.engines.process import free_port

SCRAPE = """\
global:
  scrape_interval: 5s
scrape_configs:
  - job_name: understudy
    static_configs:
      - targets: ["{target}"]
"""


class Keeper(Protocol):
    def callback(self, function: Callable[..., object], /, *arguments: object) -> object: ...


def configuration(target: str) -> str:
    """Prometheus' configuration for one ingress at `target` (host:port)."""
    return SCRAPE.format(target=target)


def start_prometheus(children: Keeper, url: str, folder: Path) -> str:
    """Start it for the server at `url`, ended by `children`; gives its address, or how to install it."""
    program = shutil.which("prometheus")
    if program is None:
        return "not installed (apt-get install prometheus)"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "prometheus.yml"
    path.write_text(configuration(url.removeprefix("http://")))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    children.callback(stop, process)
    return f"http://{address}"


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)
