"""A whole study over scripted engines: cards, pairs, what is kept between runs, and how it fails and stops."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve.config.lineage import line_of
from serve.config.loader import parse, with_port
from serve.evaluation.evaluate import evaluate_variant
from serve.ports import free_port
from serve.study.entry import entry_of
from serve.study.matrix import examples_for
from serve.study.runner import Runner, StudyPlan, describe_study
from serve.study.schema import FILE, read_study
from tests.support.local_stage import local
from tests.support.processes import ROOT
from tests.support.recipes import parse_recipe
from tests.support.scripted import make_artifact, make_stack, with_variants
from tests.support.study import BF16, INT8, ScriptedMake, scripted_stack
from variants.artifacts.catalog import Catalog
from variants.home import home, sources_of
from variants.progress import NoProgress

pytestmark = pytest.mark.integration
BANDS = ("bands", "baseline")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of tasks is fetched once for all tests: the artifacts are this test's own."""
    (tmp_path / "home").mkdir()
    sources_of(home()).mkdir(parents=True, exist_ok=True)
    (tmp_path / "home" / "sources").symlink_to(sources_of(home()))
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    # Cards are filled here, not believed: the fewest rounds and the shortest that give intervals.
    monkeypatch.setattr("serve.evaluation.forward_pass.ROUNDS", 5)
    monkeypatch.setattr("serve.evaluation.speedup.ROUNDS", 8)
    monkeypatch.setattr("serve.evaluation.speedup.SINGLE_S", 0.05)
    monkeypatch.setattr("serve.evaluation.speedup.FULL_S", 0.1)


def test_a_study_fills_every_card_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    stack, out = scripted_stack(int8=INT8, bf16=BF16), tmp_path / "out"
    make = ScriptedMake(home())
    first = Runner(StudyPlan(stack, most=60, budget_s=0), out, make).run()
    assert (first.cards, first.missing) == ((), ("bands@baseline", "bands@int8", "bands@bf16"))
    assert "missing, out of time" in describe_study(first, out)

    study = Runner(StudyPlan(stack, most=60), out, make).run()
    assert [card.variant for card in study.cards] == ["baseline", "int8", "bf16"]
    base, int8, _ = study.cards
    assert (base.kind, int8.kind, base.paired_difference, base.agreement) == ("baseline", "quantized", None, None)
    # The scripted engine answers by brightness alone, so a variant is its parent's equal, example by example.
    assert int8.paired_difference is not None
    assert int8.agreement is not None
    assert (int8.paired_difference.value, int8.agreement.value, int8.accuracy) == (0, 1, base.accuracy)
    assert int8.parent_digest == base.digest
    assert base.speedup is None
    assert int8.speedup is not None
    assert 0 < int8.speedup.single.low <= int8.speedup.single.value <= int8.speedup.single.high
    for card in study.cards:
        assert card.accuracy.n == 60
        assert 0 < card.latency_s.p50 <= card.latency_s.p95
        assert 0 < card.saturated_latency_s.p50 <= card.saturated_latency_s.p95
        assert 0 < card.resident_bytes <= card.peak_memory_bytes
        assert card.throughput_per_s > 0
        assert card.cost_cpu_s > 0
        assert card.load_s > 0.1
        assert card.executes == "f32"
        (kept,) = Catalog(home()).model("bands").cards[card.digest]
        assert kept.throughput_per_s == card.throughput_per_s
        assert (out / "cards" / f"{card.name}.md").is_file()
    assert (out / "index.html").is_file()
    assert read_study(out) == study

    again = Runner(StudyPlan(stack, most=60), out, make).run()
    assert again.cards == study.cards, "nothing is measured twice"


def test_a_variant_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    document = scripted_stack(int8=INT8, bf16=BF16).model_dump(mode="json", by_alias=True, exclude_none=True)
    document["models"]["bands"]["variants"]["bf16"]["parent"] = "int8"
    stack = type(scripted_stack()).model_validate(document)
    study = Runner(StudyPlan(stack, most=20), tmp_path, ScriptedMake(home(), "int8")).run()
    assert [card.variant for card in study.cards] == ["baseline"]
    assert [(each.variant, each.why) for each in study.failed] == [
        ("int8", "the build was killed (most likely for memory: see dmesg)"),
        ("bf16", "int8, which it is made from or compared with, failed"),
    ]
    assert not study.whole
    assert "bands@int8 has no card: the build was killed" in (tmp_path / "index.html").read_text()


async def test_a_variant_is_paired_with_its_parents_stored_outcomes_and_served_as_a_card(tmp_path: Path) -> None:
    stack = with_port(scripted_stack(int8=INT8), free_port())
    artifacts = ScriptedMake(home())(stack, line_of(stack, ("bands", "int8")))
    examples = examples_for(stack, "bands", 20, NoProgress())
    card = await asyncio.to_thread(evaluate_variant, stack, artifacts, ("bands", "int8"), examples, False, NoProgress())
    assert [(figure.metric, figure.n) for figure in card.accuracy] == [("accuracy", 20)]
    cards = Catalog(home()).model("bands").cards
    baseline = artifacts[BANDS].manifest.digest
    assert set(cards) == {card.digest, baseline}, "its parent had no outcomes, so it was evaluated first"
    assert card.parent_digest == baseline
    async with local(tmp_path, stack, dict(artifacts)) as served:
        answer = await served.client.get("/admin/v1/models/bands/cards")
        unknown = await served.client.get("/admin/v1/models/band/cards")
    variants = {each["variant"]: each for each in answer.json()["variants"]}
    assert variants["int8"]["cards"] == [json.loads(card.model_dump_json(by_alias=True))]
    assert variants["int8"]["artifact_sha256"] == card.digest
    assert variants["int8"]["recipe"]["scheme"] == "int8"
    assert unknown.status_code == 404
    assert "models are bands" in unknown.json()["error"]["message"]


def test_an_adapter_is_asked_in_its_bases_engine_and_served_with_its_bases_bytes() -> None:
    lora = {"kind": "lora", "task": "rotten_tomatoes", "rank": 8, "alpha": 16, "steps": 9}
    engine = {"kind": "scripted", "first_token_s": 0.001, "adapters": {"slots": 2}}
    variants: dict[str, dict[str, Any]] = {
        "baseline": {"weight": 1},
        "lora": {"recipe": lora, "parent": "baseline", "engine": engine},
    }
    document = with_variants(make_stack(), "echo", variants).model_dump(mode="json", by_alias=True, exclude_none=True)
    document["models"]["echo"]["evaluate"] = ["rotten_tomatoes"]
    stack = parse(document)
    base = make_artifact(home(), "echo", "baseline", "text-generation")
    adapter = make_artifact(home(), "echo", "lora", "text-generation", base=base, recipe=parse_recipe(lora))
    artifacts = {("echo", "baseline"): base, ("echo", "lora"): adapter}
    for artifact in artifacts.values():
        Catalog(home()).record(artifact.manifest)
    examples = examples_for(stack, "echo", 12, NoProgress())
    card = evaluate_variant(stack, artifacts, ("echo", "lora"), examples, False, NoProgress())
    entry = entry_of(stack, ("echo", "lora"), card, artifacts, 12)
    assert (entry.kind, entry.parent, entry.accuracy.n) == ("lora", "baseline", 12)
    assert entry.artifact_bytes == adapter.manifest.bytes
    assert entry.served_bytes == adapter.manifest.bytes + base.manifest.bytes


def test_ctrl_c_ends_the_engine_and_leaves_the_page_of_what_there_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.support.study_scripted", str(out)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / FILE).is_file() or not json.loads((out / FILE).read_text())["cards"]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while not (children := psutil.Process(process.pid).children(recursive=True)):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert [card["variant"] for card in json.loads((out / FILE).read_text())["cards"]] == ["baseline"]
    assert (out / "index.html").is_file()
