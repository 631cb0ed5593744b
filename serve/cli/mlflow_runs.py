"""Writes cards to MLflow, one run a card: the recipe as parameters, figures with their bounds as metrics, the card and
the model card as files. MLflow is no dependency: `evaluate --mlflow` uses it where it is installed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from serve.config.lineage import VariantRef
from serve.study.model_card import model_card
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Store, read_manifest
from variants.errors import InputError, MissingDependency
from variants.home import home

OPTION = "--mlflow"
CARD = "understudy.card"
"""The tag with a card's hash, by which a card that is logged already is found."""
LONGEST = 500
"""Characters of a parameter's value, which MLflow limits."""


class MlflowRuns:
    """The runs at one tracking address. Each model is an experiment."""

    def __init__(self, uri: str) -> None:
        """Raises MissingDependency, and InputError for an address that MLflow does not take."""
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingDependency("mlflow is not installed", field=OPTION, mend="pip install mlflow") from error
        try:
            self.uri, self.client = uri, MlflowClient(tracking_uri=uri)
        except MlflowException as error:
            mend = "the address of a server, such as http://127.0.0.1:5000, or sqlite:///mlflow.db"
            raise InputError(f"MLflow does not take {uri}: {reason_of(error)}", field=OPTION, mend=mend) from error

    def log(self, ref: VariantRef, card: Card) -> None:
        """Log a variant's card, unless a run has it already. Raises InputError where MLflow does not take it."""
        from mlflow.exceptions import MlflowException

        manifest = read_manifest(Store(home()).path(Catalog(home()).model(ref[0]).current(ref[1]).key))
        try:
            self._log(manifest, card)
        except MlflowException as error:
            message = f"{self.uri} does not take the card of {'@'.join(ref)}: {reason_of(error)}"
            mend = "the card is in the catalog: the same command with another address logs it"
            raise InputError(message, field=OPTION, mend=mend) from error

    def _log(self, manifest: Manifest, card: Card) -> None:
        from mlflow.entities import Metric, Param

        experiment = self._experiment(manifest.model)
        if self.client.search_runs([experiment], f"tags.`{CARD}` = '{card.canonical_sha256()}'", max_results=1):
            return
        name, at = f"{manifest.model}@{manifest.variant}", int(card.created.timestamp() * 1000)
        run = self.client.create_run(experiment, at, tags_of(manifest, card), name).info.run_id
        metrics = [Metric(key, value, at, 0) for key, value in metrics_of(card)]
        self.client.log_batch(run, metrics, [Param(key, value) for key, value in parameters_of(manifest)])
        self.client.log_text(run, card.to_json().decode(), "card.json")
        self.client.log_text(run, model_card(manifest, card), "README.md")
        self.client.set_terminated(run)

    def _experiment(self, model: str) -> str:
        known = self.client.get_experiment_by_name(model)
        return str(known.experiment_id if known else self.client.create_experiment(model))


def reason_of(error: Exception) -> str:
    """The first sentence of MLflow's message."""
    return " ".join(str(error).split()).partition(". ")[0]


def tags_of(manifest: Manifest, card: Card) -> dict[str, str]:
    parent = {"understudy.parent_digest": card.parent_digest} if card.parent_digest else {}
    return {CARD: card.canonical_sha256(), "understudy.digest": card.digest, "cpu": card.hardware.cpu, **parent}


def parameters_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The recipe, each field by its path, and what else decided the bytes."""
    recipe = manifest.recipe.model_dump(mode="json", exclude_none=True)
    given = {"recipe": recipe, "variant": manifest.variant, "method": manifest.method, "seed": manifest.seed}
    given |= {"precision": manifest.precision, "parent": manifest.parent or ""}
    return ((name, value[:LONGEST]) for name, value in flattened(given))


def flattened(given: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(value)


def metrics_of(card: Card) -> Iterator[tuple[str, float]]:
    """Every figure; those with an interval also as `.low` and `.high`."""
    bounded: list[tuple[str, Any]] = [(f"{each.task}.{each.metric}", each) for each in card.accuracy]
    bounded += [(f"{each.task}.{each.metric}.less_parent", each) for each in card.differences]
    bounded += [(f"{each.task}.agreement", each) for each in card.agreement]
    for name in ("single", "saturated", "inference"):
        if (ratio := getattr(card.speedup, name, None)) is not None:
            bounded.append((f"speedup.{name}", ratio))
    plain: list[tuple[str, float | None]] = [
        (f"{name}{bound}", value)
        for name, each in bounded
        for bound, value in (("", each.value), (".low", each.low), (".high", each.high))
    ]
    plain += [(f"{each.task}.{each.metric}", each.value) for each in card.distances]
    for name in ("latency_s", "saturated_latency_s"):
        if (latency := getattr(card, name)) is not None:
            plain += [(f"{name}.p50", latency.p50), (f"{name}.p95", latency.p95)]
    single = (
        "throughput_per_s", "inference_per_s", "cost_cpu_s", "load_s", "resident_bytes", "peak_memory_bytes",
        "artifact_bytes",
    )  # fmt: skip
    plain += [(name, getattr(card, name)) for name in single]
    # MLflow refuses other characters, and the tasks of lm-evaluation-harness have them.
    return ((re.sub(r"[^\w.-]", "_", name), float(value)) for name, value in plain if value is not None)
