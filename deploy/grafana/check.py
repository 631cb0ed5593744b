"""Every query of a dashboard, run as Grafana runs it, against a Prometheus.

A query that is refused raises; one that is empty is named: a wrong name of a metric is an empty answer, not an error.
`python -m deploy.grafana.check PROMETHEUS MODEL` asks of the last five minutes.
"""

import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from variants.errors import EngineError

DASHBOARD = Path(__file__).resolve().parent / "dashboards" / "variants.json"
Series = list[dict[str, Any]]
LIMIT_S = 30


@dataclass(frozen=True)
class Watched:
    """A Prometheus that saw a server from `began` to `ended`, in seconds of the epoch, and how Grafana fills in."""

    prometheus: str
    began: float
    ended: float
    model: str
    variants: str = ".*"
    rate_interval: str = "20s"
    """Grafana makes it at least four scrapes long."""

    def fill(self, text: str) -> str:
        given = {"$model": self.model, "$variant": self.variants, "$__rate_interval": self.rate_interval}
        for name, value in given.items():
            text = text.replace(name, value)
        assert "$" not in text, f"left to fill in: {text}"
        return text

    def ask(self, path: str, **params: str | float) -> Any:
        """The data of an answer of the HTTP API. Raises EngineError where Prometheus refuses."""
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(params)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=LIMIT_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise EngineError(f"Prometheus refused {params}: {error.read().decode(errors='replace')}") from None
        except OSError as error:
            raise EngineError(f"Prometheus at {self.prometheus} did not answer: {error}") from None

    def run(self, target: dict[str, Any]) -> Series:
        """The series of a panel's query, each with the finite `values` that it has had."""
        expression = self.fill(target["expr"])
        if target["instant"]:
            series: Series = self.ask("query", query=expression, time=self.ended)["result"]
            for each in series:
                each["values"] = [each.pop("value")]
        else:
            assert target["range"]
            span = {"start": self.began, "end": self.ended, "step": max(1.0, (self.ended - self.began) / 300)}
            series = self.ask("query_range", query=expression, **span)["result"]
        for each in series:
            each["values"] = [float(text) for _, text in each["values"] if math.isfinite(float(text))]
        return [each for each in series if each["values"]]


def panels(dashboard: Path) -> dict[str, dict[str, Any]]:
    """The panels of a dashboard's file that have queries, by title."""
    document = json.loads(dashboard.read_text())
    return {panel["title"]: panel for panel in document["panels"] if panel["type"] != "row"}


def empty(dashboard: Path, watched: Watched) -> Iterator[str]:
    """Each query without data, as `panel: query`. Raises EngineError where one is refused."""
    for title, panel in panels(dashboard).items():
        for target in panel["targets"]:
            if not watched.run(target):
                yield f"{title}: {watched.fill(target['expr'])}"


def check(dashboard: Path, watched: Watched) -> str:
    """How many queries were run, in words. Raises EngineError naming those that are refused or empty."""
    without = list(empty(dashboard, watched))
    if without:
        raise EngineError(f"{dashboard.name} has queries without data: {'; '.join(without)}")
    count = sum(len(panel["targets"]) for panel in panels(dashboard).values())
    return f"{count} queries of {len(panels(dashboard))} panels have data of {watched.model}"


if __name__ == "__main__":
    now = time.time()
    print(check(DASHBOARD, Watched(sys.argv[1], now - 300, now, sys.argv[2])))
