"""What `serve.metrics` defines, read through prometheus-client's own description, and what an ingress shows of the
controller."""

from prometheus_client import Counter, Gauge, Histogram, Metric

from serve import metrics
from serve.api.controller_metrics import NAMES

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def families() -> dict[str, Metric]:
    """Every metric of ours by its name in PromQL: a counter with `_total`, a histogram without a suffix."""
    by_name = {name: Metric(name, says, "gauge") for name, says in NAMES.items()}
    for value in vars(metrics).values():
        if isinstance(value, Counter | Gauge | Histogram):
            (family,) = value.describe()
            by_name[f"{family.name}_total" if family.type == "counter" else family.name] = family
    return by_name


def sample_names() -> set[str]:
    """Every name that a query may use."""
    return {family.name + suffix for family in families().values() for suffix in SUFFIXES[family.type]}
