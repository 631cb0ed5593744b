"""What `/metrics` shows: what `serve.metrics` defines, what an ingress shows of the controller, and of engines.

`python -m tests.unit.deploy.families` writes the golden file again."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from prometheus_client import Counter, Gauge, Histogram, Metric

from serve import metrics
from serve.api.controller_metrics import ControllerMetrics
from serve.config.objectives import Objectives
from serve.control.contract import ControllerFigures, RolloutFigures
from serve.dataplane.engine_metrics import EngineMetrics
from serve.dataplane.sync import ControllerSync
from serve.dataplane.upstream import Upstream
from serve.engines.endpoint import Endpoint
from serve.engines.figures import Figures
from tests.support.processes import ROOT
from variants.evidence.gate import Finding

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
GOLDEN = Path(__file__).with_name("metrics.golden.txt")
ROW = re.compile(r"^\| `(understudy_\w+)` \| (\w+) \| ([^|]+) \|([^|]*)\|", re.MULTILINE)
"""A row of the table in docs/operating.md: name, kind, unit, labels."""


def controller() -> ControllerMetrics:
    """Of a controller with one rollout, and one model with objectives."""
    finding = Finding("quality", 1, 0.0, 0.0, 0.0, 0.0, "open")
    rollout = RolloutFigures("m", "v", "running", "promote", 1, False, (finding,))
    models = {"m": SimpleNamespace(objectives=Objectives(ttft_s=1.0))}
    figures = ControllerFigures(1, 1, 0, 0, 0, (rollout,))
    sync = SimpleNamespace(answered_at=0.0, upstreams=SimpleNamespace(models=models), figures=figures)
    return ControllerMetrics(cast(ControllerSync, sync))


def engines() -> EngineMetrics:
    """Of one engine that says all of its figures."""
    endpoint = Endpoint("", 1, 1, 1, "", figures=Figures(1, 1, 1, 1, 1, 1, (("+Inf", 1.0),)))
    upstream = SimpleNamespace(labels=("m", "v"), endpoint=endpoint)
    return EngineMetrics(lambda: [cast(Upstream, upstream)])


def described() -> Iterator[tuple[Metric, set[str]]]:
    """Every metric of ours, with the names of its labels."""
    for value in vars(metrics).values():
        if isinstance(value, Counter | Gauge | Histogram):
            (family,) = value.describe()
            yield family, set(value._labelnames)  # a metric without samples tells them nowhere else
    for collector in (controller(), engines()):
        for family in collector.collect():
            yield family, {label for sample in family.samples for label in sample.labels} - {"le"}


def query_name(family: Metric) -> str:
    """Its name in PromQL: a counter with `_total`, a histogram without a suffix."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def families() -> dict[str, Metric]:
    return {query_name(family): family for family, _ in described()}


def sample_names() -> set[str]:
    """Every name that a query may use."""
    return {family.name + suffix for family in families().values() for suffix in SUFFIXES[family.type]}


def golden() -> str:
    """A line for each metric: its name, kind, unit and labels. Units are those of docs/operating.md."""
    text = (ROOT / "docs" / "operating.md").read_text()
    units = {name: unit for name, _, unit, _ in ROW.findall(text)}
    rows = [
        f"{name} | {family.type} | {units.get(name, 'not in docs/operating.md')} | {', '.join(sorted(labels))}".rstrip()
        for family, labels in described()
        for name in [query_name(family)]
    ]
    return "\n".join(sorted(rows)) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(golden())
