"""Runs every query of a dashboard against a Prometheus, as Grafana runs it.

It reports each query that Prometheus refuses, and each that returns no data: a wrong metric name is no error for
Prometheus. `python -m deploy.grafana.check PROMETHEUS MODEL` asks about the last five minutes.
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from variants.errors import EngineError

FOLDER = Path(__file__).resolve().parent / "dashboards"
DASHBOARD = FOLDER / "variants.json"
Series = list[dict[str, Any]]
LIMIT_S = 30


@dataclass(frozen=True)
class Watched:
    """A Prometheus that watched a server from `began` to `ended` (seconds since 1970), and values for the dashboard's
    variables."""

    prometheus: str
    began: float
    ended: float
    model: str
    variants: str = ".*"
    rate_interval: str = "20s"
    """Grafana's is at least four scrape intervals long."""

    def fill(self, text: str) -> str:
        """The query `text` with a value for each variable."""
        given = {"$model": self.model, "$variant": self.variants, "$__rate_interval": self.rate_interval}
        given["$__range"] = f"{self.ended - self.began:.0f}s"
        for name, value in given.items():
            text = text.replace(name, value)
        assert "$" not in text, f"a variable without a value: {text}"
        return text

    def ask(self, path: str, **params: str | float) -> Any:
        """The data of an answer of the HTTP API. Raises EngineError if Prometheus refuses or does not answer."""
        url = f"{self.prometheus}/api/v1/{path}"
        try:
            answer = httpx.get(url, params=params, timeout=LIMIT_S, trust_env=False)
        except httpx.HTTPError as error:
            raise EngineError(f"Prometheus at {self.prometheus} did not answer: {error}") from None
        if answer.is_error:
            raise EngineError(f"Prometheus refused {params}: {answer.text}")
        return answer.json()["data"]

    def run(self, target: dict[str, Any]) -> Series:
        """The series of a panel's query, each with its finite `values`. Series without one are left out."""
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
    """The panels with queries of the dashboard in a file, by title."""
    document = json.loads(dashboard.read_text())
    return {panel["title"]: panel for panel in document["panels"] if panel["type"] != "row"}


def check(dashboard: Path, watched: Watched) -> str:
    """A sentence with the number of queries that have data. Raises EngineError if one is refused or has no data."""
    by_title = panels(dashboard)
    queries = [(title, target) for title, panel in by_title.items() for target in panel["targets"]]
    empty = [f"{title}: {watched.fill(target['expr'])}" for title, target in queries if not watched.run(target)]
    if empty:
        raise EngineError(f"{dashboard.name} has queries without data: {'; '.join(empty)}")
    return f"{len(queries)} queries of {len(by_title)} panels have data of {watched.model}"


if __name__ == "__main__":
    now = time.time()
    print(check(DASHBOARD, Watched(sys.argv[1], now - 300, now, sys.argv[2])))
