"""One server without Ray for the console's tests: `echo` with a parent, and a card of each of its variants."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from serve.ports import free_port
from tests.support.family import Family
from tests.support.local_stage import Local, local
from variants.artifacts.card import Accuracy, Card, Difference, Latency
from variants.artifacts.catalog import Catalog
from variants.machine import describe

PLAN: dict[str, Any] = {"variant": "int8", "steps": ["shadow", 50, 100], "gate": {"quality": 0.05}}


def family_of(home: Path) -> Family:
    family, scripted = Family(home, free_port()), {"kind": "scripted"}
    family.variants = {
        "baseline": {"weight": 90, "engine": scripted},
        "int8": {"weight": 10, "parent": "baseline", "engine": scripted},
    }
    return family


def add_cards(home: Path, family: Family) -> None:
    """A card of each variant of `echo`, of this machine."""
    catalog, parent = Catalog(home), family.digest("baseline")
    accuracy = Accuracy(task="rotten_tomatoes", value=0.8, low=0.75, high=0.85, n=500)
    for variant, p50 in (("baseline", 0.02), ("int8", 0.01)):
        differences = Difference(
            task=accuracy.task, metric="accuracy", parent=parent, value=0.0, low=-0.01, high=0.01, n=500
        )
        card = Card(
            digest=family.digest(variant),
            parent_digest=None if variant == "baseline" else parent,
            hardware=describe(),
            precision="f32",
            versions={},
            accuracy=(accuracy,),
            differences=() if variant == "baseline" else (differences,),
            latency_s=Latency(p50=p50, p95=2 * p50),
            artifact_bytes=1,
            engine=family.stack.models["echo"].variants[variant].engine.model_dump(mode="json"),
            measured_by="a test",
            created=datetime.now(UTC),
        )
        catalog.record(family.artifacts["echo", variant].manifest)
        catalog.add_card("echo", card)


@pytest_asyncio.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Local]:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    add_cards(tmp_path, family)
    async with local(tmp_path, family.stack, family.artifacts) as stage:
        yield stage
