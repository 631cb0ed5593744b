"""Model cards: front matter that the hub's own library reads, and the same figures."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from huggingface_hub import ModelCard

from serve.study.model_card import model_card, write_model_card
from tests.unit.variants.artifacts.test_store import keep
from variants.artifacts.card import Accuracy, Agreement, Card, Difference, Latency
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Store
from variants.machine import describe
from variants.recipes.source import Source

PARENT = "ab" * 32


def manifest(home: Path, *sources: Source) -> Manifest:
    return keep(Store(home)).manifest.model_copy(update={"sources": sources, "parent": "baseline"})


def card(digest: str) -> Card:
    share = {"task": "r8", "value": 0.914, "low": 0.9, "high": 0.93, "n": 1000}
    return Card(
        digest=digest, parent_digest=PARENT, hardware=describe(), precision="bf16", versions={},
        artifact_bytes=163_000_000,
        accuracy=(
            Accuracy(**share),
            Accuracy(task="wikitext2", metric="perplexity", unit="", better="lower", value=28.6, low=27, high=30, n=8),
        ),
        differences=(
            Difference(task="r8", metric="accuracy", parent=PARENT, value=-0.004, low=-0.011, high=0.003, n=1000),
            Difference(task="wikitext2", metric="perplexity", parent=PARENT, value=0.98, low=0.8, high=1.2, n=8),
        ),
        agreement=(Agreement(task="r8", parent=PARENT, value=0.98, low=0.97, high=0.99, n=1000),),
        latency_s=Latency(p50=0.031, p95=0.044), throughput_per_s=61.0, cost_cpu_s=14.0,
        peak_memory_bytes=2_600_000_000, measured_by="a test", created=datetime.now(UTC),
    )  # fmt: skip


def test_the_hubs_library_reads_licence_base_model_and_metrics(tmp_path: Path) -> None:
    described = manifest(tmp_path, Source(uri="hf:org/name@main", licence="Apache-2.0"))
    read = ModelCard(model_card(described, card(described.digest)))
    assert (read.data.license, read.data.base_model, read.data.pipeline_tag) == (
        "apache-2.0",
        "org/name",
        "text-generation",
    )
    assert read.data.eval_results is not None
    results = {(each.dataset_type, each.metric_type): each.metric_value for each in read.data.eval_results}
    assert results == {("r8", "accuracy"): 0.914, ("wikitext2", "perplexity"): 28.6}


def test_the_body_has_the_figures_and_the_recipe(tmp_path: Path) -> None:
    described = manifest(tmp_path)
    path = write_model_card(described, card(described.digest), tmp_path / "cards")
    text = path.read_text()
    assert path.name == "m@v.md"
    for figure in (
        "91.4 % (90.0 to 93.0)",
        "| accuracy less its parent's on r8 | −0.4 (−1.1 to +0.3) |",
        "98.0 %",
        "28.6 (27.0 to 30.0)",
        "31 ms, 44 ms",
        "2.60 GB",
    ):
        assert figure in text
    assert described.digest in text
    assert '"dtype": "bfloat16"' in text


def test_licences_that_the_hub_does_not_know_are_named(tmp_path: Path) -> None:
    several = (Source(uri="/a", licence="Apache-2.0"), Source(uri="/b", licence="BSD-3-Clause"))
    described = manifest(tmp_path, *several)
    data = ModelCard(model_card(described, card(described.digest))).data.to_dict()
    assert (data["license"], data["license_name"]) == ("other", "Apache-2.0; BSD-3-Clause")


def test_the_catalog_writes_the_cards_of_what_was_measured(tmp_path: Path) -> None:
    store, catalog = Store(tmp_path), Catalog(tmp_path)
    catalog.record(keep(store).manifest)
    folder = tmp_path / "cards"
    command = [sys.executable, "-m", "serve.cli", "catalog", "--cards", str(folder), "--json"]
    environment = os.environ | {"UNDERSTUDY_HOME": str(tmp_path)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert not folder.exists(), "nothing was measured yet"
    catalog.add_card("m", card(catalog.model("m").current("v").digest))
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert [path.name for path in folder.iterdir()] == ["m@v.md"]
    assert "model card: " in done.stderr
    assert json.loads(done.stdout)["variants"][0]["variant"] == "v"
