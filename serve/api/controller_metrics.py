"""The controller's figures and the models' objectives as metrics. The ingress that is asked shows what it heard last.

They are read from the controller and not counted here, so prometheus-client's files of several processes are not used.
"""

from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serve.config.objectives import Objectives
from serve.config.stack import Model
from serve.control.contract import ControllerFigures, Decision, RolloutFigures, Status
from serve.dataplane.sync import ControllerSync

ROLLOUT = ("model", "variant")
STATUSES: tuple[Status, ...] = get_args(Status)
DECISIONS: tuple[Decision, ...] = get_args(Decision)
NAMES = {
    "understudy_controller_answered_timestamp_seconds": "When the controller answered this ingress last.",
    "understudy_controller_ingresses": "Ingresses that the controller hears.",
    "understudy_controller_ingresses_behind": "Ingresses of these with an older snapshot.",
    "understudy_snapshot_version": "Version of the controller's snapshot.",
    "understudy_journal_bytes": "Size of the controller's journal.",
    "understudy_state_free_bytes": "Free space on the disk of the journal.",
    "understudy_objective": "A model's objectives: least availability, and longest time to first token in seconds.",
    "understudy_rollout_status": "1 for the status of the model's latest rollout.",
    "understudy_rollout_verdict": "1 for the present decision of an open rollout: promote, roll back or inconclusive.",
    "understudy_rollout_pairs": "Requests compared in the rollout.",
    "understudy_rollout_ratio_broken": "1 where clients are not assigned as the weights say.",
    "understudy_rollout_bound": "Mean, bounds and limit of each metric of an open rollout's gate.",
}
"""By name: what it says."""


class ControllerMetrics(Collector):
    """The metrics of one ingress' view of the controller."""

    def __init__(self, sync: ControllerSync) -> None:
        self.sync = sync

    def collect(self) -> Iterator[Metric]:
        yield gauge("understudy_controller_answered_timestamp_seconds", self.sync.answered_at)
        yield objectives(self.sync.upstreams.models)
        if self.sync.figures is not None:
            yield from of_controller(self.sync.figures)
            yield from of_rollouts(self.sync.figures.rollouts)


def gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, NAMES[name], value)


def labelled(name: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, NAMES[name], labels=(*ROLLOUT, *labels))


def objectives(models: Mapping[str, Model]) -> Metric:
    name = "understudy_objective"
    metric = GaugeMetricFamily(name, NAMES[name], labels=("model", "objective"))
    for model, settings in models.items():
        wanted = settings.objectives or Objectives()
        metric.add_metric((model, "availability"), wanted.availability)
        if wanted.ttft_s is not None:
            metric.add_metric((model, "ttft_seconds"), wanted.ttft_s)
    return metric


def of_controller(figures: ControllerFigures) -> Iterator[Metric]:
    yield gauge("understudy_controller_ingresses", figures.ingresses)
    yield gauge("understudy_controller_ingresses_behind", figures.behind)
    yield gauge("understudy_snapshot_version", figures.version)
    yield gauge("understudy_journal_bytes", figures.journal_bytes)
    yield gauge("understudy_state_free_bytes", figures.free_bytes)


def of_rollouts(rollouts: tuple[RolloutFigures, ...]) -> Iterator[Metric]:
    status, verdict = (
        labelled("understudy_rollout_status", "status"),
        labelled("understudy_rollout_verdict", "decision"),
    )
    pairs, broken = labelled("understudy_rollout_pairs"), labelled("understudy_rollout_ratio_broken")
    bounds = labelled("understudy_rollout_bound", "metric", "bound")
    for rollout in rollouts:
        name = (rollout.model, rollout.variant)
        pairs.add_metric(name, rollout.compared)
        broken.add_metric(name, rollout.ratio_broken)
        for each in STATUSES:
            status.add_metric((*name, each), rollout.status == each)
        for decision in DECISIONS if rollout.decision else ():
            verdict.add_metric((*name, decision), rollout.decision == decision)
        for finding in rollout.findings:
            values = {"low": finding.low, "mean": finding.value, "high": finding.high, "limit": finding.limit}
            for bound, value in values.items():
                if value is not None:
                    bounds.add_metric((*name, finding.metric, bound), value)
    yield from (status, verdict, pairs, broken, bounds)
