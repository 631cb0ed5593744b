"""The templates of docs/plugins, built as wheels, installed and used together: a stack whose method, engine, task and
scorer are all plug-ins is built, evaluated, served and put under a campaign."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.plugins import install_templates
from tests.support.processes import ROOT, server

pytestmark = pytest.mark.integration
SPELLED = {
    "input": "{{ word }}",
    "label": "word",
    "scorer": "letters",
    "splits": {"train": 0, "calibration": 0, "test": 1},
}
CAMPAIGN = {"schema": 1, "name": "plugins", "limit_s": 60}
ACCURACY = {
    "clients": 2,
    "limit_s": 30,
    "tests": [{"model": "loud", "task": task, "n": 8} for task in ("colours", "own")],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_templates(tmp_path_factory.mktemp("plugins"))


@pytest.fixture
def environment(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes have the plug-ins; this one has not."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{site}")
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))


def understudy(*arguments: str) -> str:
    command = [sys.executable, "-m", "serve.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_stack(folder: Path) -> Path:
    """The model `loud`: its source is cut by a plug-in, and a plug-in serves it."""
    rows = "".join(f"word{'abcdefghijkl'[number]}\n" for number in range(12))
    (folder / "rows.csv").write_text(f"word\n{rows}")
    (folder / "source.bin").write_bytes(b"abcdefgh")
    own = {"own": SPELLED | {"data": {"uri": str(folder / "rows.csv")}}}
    recipe = {"kind": "plugin", "method": "keep", "options": {"bytes": 4}, "tasks": ["colours"]}
    variant = {"recipe": recipe, "engine": {"kind": "shout", "mark": "!"}, "weight": 1}
    source = {"uri": str(folder / "source.bin"), "licence": "none"}
    model = {"task": "text-generation", "source": source, "evaluate": ["colours", "own"]}
    stack = {"schema": 1, "tasks": own, "models": {"loud": model | {"variants": {"baseline": variant}}}}
    (folder / "stack.yaml").write_text(yaml.safe_dump(stack))
    (folder / "campaign.yaml").write_text(yaml.safe_dump(CAMPAIGN | {"accuracy": ACCURACY, "tasks": own}))
    return folder / "stack.yaml"


def test_the_templates_are_listed_built_evaluated_served_and_loaded(tmp_path: Path, environment: None) -> None:
    found = {each["what"]: (each["ok"], each["detail"]) for each in json.loads(understudy("doctor", "--json"))}
    assert found["plug-in keep of understudy.methods"] == (True, "understudy-keep 0.1.0")
    stack = write_stack(tmp_path)
    (card,) = json.loads(understudy("evaluate", "--stack", str(stack), "--json"))
    figures = {figure["task"]: (figure["metric"], figure["value"]) for figure in card["accuracy"]}
    assert figures == {"colours": ("accuracy", 0), "own": ("letters", 1)}  # it answers RED! for RED
    assert card["engine"] == {"kind": "shout", "plugin": "shout@understudy-shout-0.1.0", "mark": "!"}
    assert card["artifact_bytes"] == 4
    with server(tmp_path / "home", "serve.cli", "serve", str(stack), "--port", "{port}", "--json") as (url, _):
        check_live(url)
        out = tmp_path / "out"
        understudy("load", "--target", url, "--campaign", str(tmp_path / "campaign.yaml"), "--out", str(out))
    summary = json.loads((out / "summary.json").read_text())
    (variant,) = summary["models"][0]["variants"]
    assert (variant["method"], variant["failed"]) == ("keep@understudy-keep-0.1.0/1", 0)
    assert {figure["task"]: figure["value"] for figure in variant["accuracy"]} == {"colours": 0, "own": 1}


def check_live(url: str) -> None:
    """Live labels of both tasks are scored by the plug-ins."""
    for task, label in (("colours", "BLUE!"), ("own", "bulx")):
        headers = {"x-understudy-task": task, "x-understudy-label": label}
        answer = httpx.post(f"{url}/v1/completions", json={"model": "loud", "prompt": "blue"}, headers=headers)
        assert answer.json()["choices"][0]["text"] == "BLUE!"
    wanted = [
        f'understudy_labelled_score_total{{model="loud",task="{task}",variant="baseline"}} {score}'
        for task, score in (("colours", 1.0), ("own", 0.75))
    ]
    assert set(wanted) <= set(httpx.get(f"{url}/metrics").text.splitlines())
