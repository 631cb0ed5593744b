"""A campaign against the project's own server over scripted engines: what is sent is what it takes."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from loadtest.campaign.schema import Campaign, read_campaign
from loadtest.results.records import Record, read_lines
from loadtest.results.summary import summarise
from loadtest.worker.parent import run
from tests.integration.conftest import Served
from variants.tasks import Tasks

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
            {"model": "echo", "task": "talks", "ask": "text", "per_s": 3, "max_tokens": 8},
            {"model": "bands", "task": "shades", "ask": "label", "per_s": 15},
        ],
    },
    "accuracy": {
        "clients": 4,
        "limit_s": 60,
        "tests": [
            {"model": "echo", "task": "echoes", "n": 60},
            {"model": "bands", "task": "shades", "n": 60},
            {"model": "echo", "task": "quotes", "n": 20},
            {"model": "echo", "task": "talks", "n": 10},
            {"model": "echo", "task": "forms", "n": 10},
            {"model": "near", "task": "alike", "n": 40},
        ],
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


def write_echoes(path: Path) -> None:
    """The engine answers with the label that the prompt holds: every tenth prompt holds the wrong one."""
    names = ("warm", "cold")
    lines = [f"{k},{names[(k + (k % 10 == 0)) % 2]},{names[k % 2]}" for k in range(200)]
    path.write_text("\n".join(["number,shown,right", *lines]))


def write_shades(folder: Path) -> None:
    """Even shades of grey; the engine's class is the tenth of the brightness that a picture falls in."""
    for k in range(60):
        path = folder / str(k % 10) / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8 + k, 8), (k % 10) * 25 + 13).save(path)


def write_alike(path: Path) -> None:
    """The engine adds up a vector a word, so two texts are the nearer the more words they share."""
    texts = [[f"w{k}x{at}" for at in range(10)] for k in range(80)]
    rows = [(words, words[: k % 11] + [f"o{k}x{at}" for at in range(10 - k % 11)]) for k, words in enumerate(texts)]
    lines = [f"{' '.join(one)},{' '.join(other)},{k % 11}" for k, (one, other) in enumerate(rows)]
    path.write_text("\n".join(["one,other,shared", *lines]))


def tasks_in(folder: Path) -> dict[str, Any]:
    """Tasks of one's own: some in place, one as the path of its file."""
    write_echoes(folder / "echoes.csv")
    write_shades(folder / "shades")
    all_for_test = {"train": 0, "calibration": 0, "test": 1}
    echoes = {
        "data": {"uri": str(folder / "echoes.csv")},
        "input": "Number {{ number }} of them all was said to be {{ shown }} today:",
        "label": "right",
        "scorer": "choice",
        "splits": all_for_test,
    }
    quotes = echoes | {"scorer": "contains", "max_tokens": 12, "data": {"uri": str(folder / "echoes.csv")}}
    chat = [{"role": "user", "content": echoes["input"]}]
    talks = {key: value for key, value in quotes.items() if key != "input"} | {"messages": chat}
    forms = {key: value for key, value in talks.items() if key != "label"}
    forms |= {"scorer": "schema", "schema": {"type": "object"}}
    shades = {"image": "image", "label": "label", "scorer": "label", "splits": all_for_test}
    write_alike(folder / "alike.csv")
    alike = {
        "data": {"uri": str(folder / "alike.csv")},
        "pair": ["one", "other"],
        "label": "shared",
        "scorer": "spearman",
        "splits": all_for_test,
    }
    (folder / "shades.yaml").write_text(yaml.safe_dump(shades | {"data": {"uri": str(folder / "shades")}}))
    return {
        "echoes": echoes,
        "quotes": quotes,
        "talks": talks,
        "forms": forms,
        "alike": alike,
        "shades": str(folder / "shades.yaml"),
    }


def share_shown(campaign: Campaign, task: str, n: int) -> float:
    """The share of the examples whose prompt holds the label, which the engine repeats."""
    asked = Tasks(campaign.tasks).get(task).examples("test", n)
    return sum(example.label.strip() in str(example.input) for example in asked) / n


def campaign_file(folder: Path) -> Path:
    (folder / "campaign.yaml").write_text(yaml.safe_dump(CAMPAIGN | {"tasks": tasks_in(folder)}))
    return folder / "campaign.yaml"


def test_every_part_is_answered_without_a_failure(served: Served, tmp_path: Path) -> None:
    campaign = read_campaign(campaign_file(tmp_path))
    run(served.url, campaign, tmp_path / "out", lambda step: None)
    records = list(read_lines(tmp_path / "out" / "records.jsonl", Record))
    assert [record.error for record in records if record.failed] == []
    assert Counter(record.part for record in records).keys() == {"mixed", "accuracy", "warm-up", "speed"}
    assert all(record.request_id and record.artifact for record in records)
    assert len({record.request_id for record in records}) == len(records)
    summary = summarise(tmp_path / "out")
    figures = {(model.model, variant.variant): variant for model in summary.models for variant in model.variants}
    expected = [(share_shown(campaign, "echoes", 60), 60), (share_shown(campaign, "quotes", 20), 20)]
    assert 0.8 < expected[0][0] < 1
    for variant in (figures["echo", "baseline"], figures["echo", "int8"]):
        by_task = {each.task: (each.value, each.n) for each in variant.accuracy}
        assert [by_task["echoes"], by_task["quotes"]] == expected
        assert by_task["forms"] == (0, 10), "the engine writes words"
        assert by_task["talks"][1] == 10
    assert [(each.value, each.n) for each in figures["bands", "baseline"].accuracy] == [(1.0, 60)]
    (alike,) = figures["near", "int8"].accuracy
    assert (alike.task, alike.metric, alike.n) == ("alike", "spearman", 40)
    assert 0.7 < alike.low <= alike.value <= 1
    near = next(model for model in summary.models if model.model == "near")
    assert [each.metric for compared in near.comparisons for each in compared.accuracy] == ["spearman"]
    # Routed 90 to 10.
    baseline, int8 = figures["echo", "baseline"].mixed, figures["echo", "int8"].mixed
    assert baseline is not None
    assert int8 is not None
    assert baseline.requests > int8.requests
