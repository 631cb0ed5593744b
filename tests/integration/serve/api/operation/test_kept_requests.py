"""Live requests become the data of a task: kept where the stack says so, and never of a client that forbids it."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.config.loader import parse
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile

pytestmark = pytest.mark.integration
OWN: dict[str, Any] = {
    "data": {"uri": "./intents.csv"},
    "input": "{{ text }}",
    "label": "label",
    "scorer": "exact",
}
SECRET = "what-nobody-may-log"  # noqa: S105  # a client's text


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def ask(client: httpx.AsyncClient, text: str, model: str = "echo", **headers: str) -> None:
    body = {"model": model, "prompt": text, "max_tokens": 2}
    answer = await client.post("/v1/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_kept_requests_are_the_data_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    document = echo_stack(free_port()).model_dump(mode="json", by_alias=True) | {"tasks": {"intents": OWN}}
    document["models"]["echo"]["keep_requests"] = {"most": 20, "days": 1}
    task = {"x-understudy-task": "intents"}
    async with local(tmp_path, parse(document)) as served:
        for number in range(24):
            await ask(served.client, f"question {number}", **task, **{"x-understudy-label": f"answer {number % 3}"})
        await ask(served.client, f"plain {SECRET}", **{"x-understudy-task": "of nobody"})
        await ask(served.client, "not this", **{"x-understudy-shadow": "off"})
        await ask(served.client, "nor this", model="echo@int8")
        refused = await served.client.post("/v1/completions", json={"model": "echo", "prompt": "nor", "n": -1})
        assert refused.status_code == 400
    folder = tmp_path / "requests" / "echo"
    (plain,) = rows(folder / "unlabelled.jsonl")
    assert (plain["text"], plain["task"], plain["system"]) == (f"plain {SECRET}", "", "")
    labelled = rows(folder / "labelled.jsonl")
    assert 18 <= len(labelled) <= 20
    assert labelled[-1].items() >= {"text": "question 23", "task": "intents", "label": "answer 2"}.items()
    assert SECRET not in caplog.text
    own = TaskFile.model_validate(OWN | {"data": {"uri": str(folder / "labelled.jsonl")}})
    made = Tasks({"kept": own}).get("kept")
    examples = [each for split in ("train", "calibration", "test") for each in made.examples(split)]
    assert {each.input: each.label for each in examples} == {row["text"]: row["label"] for row in labelled}


async def test_nothing_is_kept_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    async with local(tmp_path, echo_stack(free_port())) as served:
        await ask(served.client, "question")
    assert not (tmp_path / "requests").exists()
