"""Starts a Prometheus beside a server, on loopback, with its data in its own folder.

It uses the `prometheus.yml`, `recording.yml` and `alerts.yml` beside this file, which users run unchanged. It replaces
only the target and, in tests, the intervals and the Alertmanager. Without one, alerts show on Prometheus' page alone.
"""

import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import yaml

from loadtest.harness import end_politely
from serve.ports import free_port

FOLDER = Path(__file__).resolve().parent
ALERTS, RECORDING = FOLDER / "alerts.yml", FOLDER / "recording.yml"
STOP_LIMIT_S = 30.0
NOT_INSTALLED = "not installed (apt-get install prometheus)"


def configuration(target: str, interval: str | None = None, alertmanager: str | None = None) -> str:
    """The text of `prometheus.yml` for one ingress at `target` (host:port). `interval` is text like `1s`, for scrapes
    and rules. `alertmanager` is host:port."""
    document = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = document["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    if interval is not None:
        document["global"] |= {"scrape_interval": interval, "evaluation_interval": interval}
    targets = [] if alertmanager is None else [alertmanager]
    document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": targets}]}]
    return yaml.safe_dump(document, sort_keys=False)


def start_prometheus(
    children: ExitStack, url: str, folder: Path, interval: str | None = None, alertmanager: str | None = None
) -> str | None:
    """Start Prometheus for the server at `url`, let `children` end it, and return its address. None if it is not
    installed."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "prometheus.yml"
    path.write_text(configuration(url.removeprefix("http://"), interval, alertmanager))
    for rules in (ALERTS, RECORDING):
        shutil.copy(rules, folder)
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    children.callback(end_politely, process, signal.SIGTERM, STOP_LIMIT_S)
    return f"http://{address}"
