"""The Load page over a real server: a campaign from the form to its report, by its own child process."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from tests.integration.serve.console.test_console import post
from tests.support.local_stage import Local

pytestmark = pytest.mark.integration
PAGE = "/pages/load"
LIMIT_S = 90.0
"""Detects a hang; it is no limit on speed."""


def write_campaign(home: Path, seconds: float, model: str = "echo", name: str = "echoes") -> None:
    """A campaign with routed requests for so long, and a task of its own. Each prompt holds its label, which the engine
    repeats."""
    lines = [f"{k},{('warm', 'cold')[k % 2]}" for k in range(2000)]
    (home / "echoes.csv").write_text("\n".join(["number,right", *lines]))
    task = {
        "data": {"uri": str(home / "echoes.csv")},
        "input": "Number {{ number }} of them all was said to be {{ right }} today:",
        "label": "right",
        "scorer": "choice",
        "splits": {"train": 0, "calibration": 0, "test": 1},
    }
    arrivals = {"model": model, "task": "echoes", "ask": "label", "per_s": 10}
    document = {
        "schema": 1,
        "name": name,
        "limit_s": 60,
        "accuracy": {"clients": 2, "limit_s": 30, "tests": [{"model": model, "task": "echoes", "n": 40}]},
        "mixed": {"seconds": seconds, "clients": 10, "arrivals": [arrivals]},
        "tasks": {"echoes": task},
    }
    (home / "campaigns").mkdir()
    (home / "campaigns" / f"{name}.yaml").write_text(yaml.safe_dump(document))


async def ended(served: Local) -> str:
    """The page when no campaign runs any more."""
    async with asyncio.timeout(LIMIT_S):
        while "No campaign runs." not in (shown := (await served.client.get(PAGE)).text):
            await asyncio.sleep(0.2)
    return shown


async def test_a_campaign_is_started_watched_and_reported(served: Local, tmp_path: Path) -> None:
    write_campaign(tmp_path, 1)
    started = await post(served, PAGE, "/start", campaign="echoes")
    assert (started.status_code, started.headers["location"]) == (303, PAGE)
    running = (await served.client.get(PAGE)).text
    assert "echoes runs" in running
    assert (await post(served, PAGE, "/start", campaign="echoes")).status_code == 409
    shown = await ended(served)
    assert shown.count(">report</a>") == 1, shown
    (folder,) = (path for path in (tmp_path / "load").iterdir() if path.is_dir())
    report = await served.client.get(f"{PAGE}/{folder.name}/report")
    assert "Campaign echoes" in report.text
    summary = json.loads((folder / "summary.json").read_text())
    assert [each["accuracy"][0]["value"] for each in summary["models"][0]["variants"]] == [1.0, 1.0]


async def test_a_campaign_is_stopped_and_its_records_stay(served: Local, tmp_path: Path) -> None:
    write_campaign(tmp_path, 50)
    assert (await post(served, PAGE, "/start", campaign="echoes")).status_code == 303
    (folder,) = (path for path in (tmp_path / "load").iterdir() if path.is_dir())
    records = folder / "records.jsonl"
    async with asyncio.timeout(LIMIT_S):
        while not (records.is_file() and records.stat().st_size):
            await asyncio.sleep(0.2)
    assert "mixed: routed by weight" in (await served.client.get(PAGE)).text
    assert (await post(served, PAGE, "/stop")).status_code == 303
    shown = await ended(served)
    assert "interrupted; everything it started has been ended" in shown
    assert records.stat().st_size > 0
