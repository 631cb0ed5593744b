"""A campaign against the project's own server over scripted engines: what is sent is what it takes."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loadtest.campaign.schema import parse_campaign
from loadtest.results.records import Record, read_lines
from loadtest.results.summary import summarise
from loadtest.worker.parent import run
from tests.integration.conftest import Served
from variants.tasks import Example

pytestmark = pytest.mark.integration

CAMPAIGN = {
    "schema": 1,
    "name": "made",
    "limit_s": 90,
    "timeout_s": 10,
    "mixed": {
        "seconds": 2,
        "clients": 30,
        "arrivals": [
            {"model": "echo", "task": "echoes", "ask": "label", "per_s": 15},
            {"model": "echo", "task": "echoes", "ask": "text", "per_s": 5, "max_tokens": 8},
            {"model": "bands", "task": "shades", "ask": "label", "per_s": 15},
        ],
    },
    "accuracy": {
        "clients": 4,
        "limit_s": 60,
        "tests": [{"model": "echo", "task": "echoes", "n": 60}, {"model": "bands", "task": "shades", "n": 60}],
    },
    "speed": {
        "clients": 4,
        "tests": [
            {
                "model": "echo",
                "task": "echoes",
                "prompt_tokens": 32,
                "max_tokens": 32,
                "slices": 3,
                "slice_s": 0.6,
                "lead_in_s": 0.1,
                "warm_up_s": 0.2,
            },
            {"model": "bands", "task": "shades", "slices": 3, "slice_s": 0.4, "lead_in_s": 0.1, "warm_up_s": 0.1},
        ],
    },
}


class Echoes:
    """The engine answers with the label that the prompt holds: every tenth prompt holds the wrong one."""

    name, kind = "echoes", "text"
    labels = (" warm", " cold")

    def examples(self, split: str, n: int | None = None) -> list[Example]:
        examples = []
        for k in range(200):
            label = self.labels[k % 2]
            shown = self.labels[(k + 1) % 2] if k % 10 == 0 else label
            examples.append(Example(f"echo-{k}", f"Number {k} of them all was said to be{shown} today:", label))
        return examples[:n]


class Shades:
    """Even shades of grey; the engine's class is the tenth of the brightness that a picture falls in."""

    name, kind = "shades", "image"
    labels = tuple("0123456789")

    def examples(self, split: str, n: int | None = None) -> list[Example]:
        examples = []
        for k in range(60):
            buffer = io.BytesIO()
            Image.new("L", (8 + k, 8), (k % 10) * 25 + 13).save(buffer, format="PNG")
            examples.append(Example(f"shade-{k}", buffer.getvalue(), self.labels[k % 10]))
        return examples[:n]


def test_every_part_is_answered_without_a_failure(served: Served, tmp_path: Path) -> None:
    get_task: Callable[[str], Any] = {"echoes": Echoes(), "shades": Shades()}.__getitem__
    run(served.url, parse_campaign(CAMPAIGN), tmp_path / "out", lambda step: None, get_task)
    records = list(read_lines(tmp_path / "out" / "records.jsonl", Record))
    assert [record.error for record in records if record.failed] == []
    assert Counter(record.part for record in records).keys() == {"mixed", "accuracy", "warm-up", "speed"}
    assert all(record.request_id and record.artifact for record in records)
    assert len({record.request_id for record in records}) == len(records)
    summary = summarise(tmp_path / "out")
    figures = {(model.model, variant.variant): variant for model in summary.models for variant in model.variants}
    for variant in (figures["echo", "baseline"], figures["echo", "int8"]):
        assert [(each.value, each.n) for each in variant.accuracy] == [(0.9, 60)]
    assert [(each.value, each.n) for each in figures["bands", "baseline"].accuracy] == [(1.0, 60)]
    # Routed 90 to 10.
    baseline, int8 = figures["echo", "baseline"].mixed, figures["echo", "int8"].mixed
    assert baseline is not None
    assert int8 is not None
    assert baseline.requests > int8.requests
