"""What a recommendation is made from, what it says, and the stack file that it writes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.cli.recommendation.command import recommend
from serve.cli.recommendation.figures import Objective, figures_of, read_objective
from serve.cli.recommendation.report import describe, document_of, with_rollout
from serve.config.loader import parse
from serve.config.stack import Stack
from tests.support.scripted import RECIPE, echo_stack, make_artifact, with_variants
from variants.artifacts.card import Accuracy, Card, Difference, Ratio, Speedup
from variants.artifacts.catalog import Catalog
from variants.errors import InputError, UnknownName
from variants.evidence.recommendation import recommend as decide
from variants.machine import describe as machine


@pytest.fixture
def stack() -> Stack:
    variants: dict[str, dict[str, Any]] = {
        "baseline": {"weight": 90},
        "int8": {"weight": 10, "parent": "baseline"},
        "pruned": {"parent": "baseline", "recipe": RECIPE},
        "pruned8": {"parent": "pruned"},
    }
    return with_variants(echo_stack(), "echo", variants)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: Stack) -> Path:
    """Cards of baseline (20 requests/s), int8 (1.5 times as fast, as good) and pruned8, whose parent has no card."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    catalog, digests = Catalog(tmp_path), {}
    for name in ("baseline", "int8", "pruned", "pruned8"):
        artifact = make_artifact(tmp_path, "echo", name, "text-generation")
        catalog.record(artifact.manifest)
        digests[name] = artifact.manifest.digest
    catalog.add_card("echo", card(stack, digests["baseline"], 0.8, throughput_per_s=20.0))
    for name, parent in (("int8", "baseline"), ("pruned8", "pruned")):
        difference = Difference(
            task="t", metric="accuracy", value=0.0, low=-0.01, high=0.01, n=500, parent=digests[parent]
        )
        ratio = Ratio(value=1.5, low=1.4, high=1.6)
        catalog.add_card(
            "echo",
            card(
                stack, digests[name], 0.8, throughput_per_s=31.0, parent_digest=digests[parent],
                differences=(difference,), speedup=Speedup(single=ratio, saturated=ratio, rounds=5),
            ),
        )  # fmt: skip
    return tmp_path


def card(stack: Stack, digest: str, accuracy: float, **other: Any) -> Card:
    engine = stack.models["echo"].variants["baseline"].engine.model_dump(mode="json")
    figure = Accuracy(task="t", value=accuracy, low=accuracy - 0.03, high=accuracy + 0.03, n=500)
    return Card(
        digest=digest, hardware=machine(), precision="f32", versions={}, accuracy=(figure,), artifact_bytes=10**6,
        engine=engine, measured_by="a test", created=datetime.now(UTC), **other,
    )  # fmt: skip


def test_cards_give_shares_of_the_baseline(home: Path, stack: Stack) -> None:
    figures = {each.candidate.variant: each for each in figures_of(stack, "echo", None, None, None)}
    assert figures["baseline"].engine_s == 50
    int8 = figures["int8"].candidate
    assert int8.cost is not None
    assert int8.quality is not None
    assert (int8.cost.low, int8.cost.value, int8.cost.high) == (1 / 1.6, 1 / 1.5, 1 / 1.4)
    assert (int8.quality.low, int8.quality.high) == (pytest.approx(0.9875), pytest.approx(1.0125))
    assert figures["int8"].engine_s == pytest.approx(50 / 1.5)
    assert figures["pruned8"].candidate.cost is None, "its parent has no card, so nothing leads to the baseline"


def test_the_answer_names_the_variant_and_what_it_saves(home: Path, stack: Stack) -> None:
    figures = figures_of(stack, "echo", None, None, None)
    answer = decide([each.candidate for each in figures], 0.98, has_objective=False)
    document = document_of("echo", figures, answer, 0.98, price=3.6)
    assert document["variant"] == "int8"
    row = next(each for each in document["variants"] if each["variant"] == "int8")
    assert (row["cost"], row["saves"]) == (pytest.approx(50 / 1.5 / 1000), pytest.approx((50 - 50 / 1.5) / 1000))
    text = describe(document, None)
    assert text.startswith("serve echo@int8: of all that keep at least 98.0 % of the quality, it costs least")
    assert "33.3 engine-s for 1,000 requests, 66.7 % (62.5 % to 71.4 %) of the baseline's" in text


def test_the_stack_file_rolls_the_variant_out(stack: Stack) -> None:
    written = parse(yaml.safe_load(with_rollout(stack, "echo", "pruned8", 0.95)))
    served = written.models["echo"]
    assert {name: each.weight for name, each in served.variants.items() if each.weight} == {"pruned": 100}
    assert served.rollout == {"variant": "pruned8", "gate": {"quality": None, "floor": 0.95}}
    alone = parse(yaml.safe_load(with_rollout(written, "echo", "baseline", 0.95))).models["echo"]
    assert alone.rollout is None
    assert alone.variants["baseline"].weight == 100


def test_the_command_writes_only_what_can_be_told(home: Path, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = home / "stack.yaml", home / "out.yaml"
    file.write_text(yaml.safe_dump(stack.model_dump(mode="json", by_alias=True, exclude_none=True)))
    asked: dict[str, Any] = {"slo": None, "campaign_results": None, "target": None, "price": None, "as_json": True}
    recommend("echo", file, floor=0.98, out=out, **asked)
    assert json.loads(capsys.readouterr().out)["variant"] == "int8"
    assert parse(yaml.safe_load(out.read_text())).models["echo"].rollout is not None
    with pytest.raises(InputError, match="no stack is written"):
        recommend("echo", file, floor=1.5, out=home / "none.yaml", **asked)
    assert not (home / "none.yaml").exists()


@pytest.mark.parametrize("text", ["ttft", "ttft<0.5", "ttft<-1s", "p99<1s", "ttft<0.5s and more"])
def test_an_objective_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="is no objective"):
        read_objective(text)


def test_what_is_missing_is_named(home: Path, stack: Stack) -> None:
    assert read_objective(" ttft < 0.5s") == Objective("ttft", 0.5)
    with pytest.raises(InputError, match="cards do not say how soon answers come"):
        figures_of(stack, "echo", Objective("ttft", 0.5), None, None)
    with pytest.raises(UnknownName, match="known are echo"):
        figures_of(stack, "other", None, None, None)
    with pytest.raises(InputError, match="is no campaign's summary"):
        figures_of(stack, "echo", None, home / "missing.json", None)


def test_a_machine_without_cards_is_told_how_to_get_them(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"echo@baseline has no card.*understudy evaluate echo"):
        figures_of(stack, "echo", None, None, None)


def test_a_campaign_gives_the_same_figures(tmp_path: Path, stack: Stack) -> None:
    quantiles = {"p50": 0.1, "p95": 0.2, "p99": 0.3, "n": 1000}
    variants = [
        {"variant": name, "throughput_rps": rate, "accuracy": [{"value": 0.8}], "artifact_bytes": 10, "ttft_s": times}
        for name, rate, times in (("baseline", 20.0, quantiles), ("int8", 30.0, None))
    ]
    beside = {
        "variant": "int8", "parent": "baseline", "speed": {"median": 1.5, "low": 1.4, "high": 1.6},
        "accuracy": [{"difference": 0.0, "low": -0.01, "high": 0.01}],
    }  # fmt: skip
    file = tmp_path / "summary.json"
    file.write_text(json.dumps({"models": [{"model": "echo", "variants": variants, "comparisons": [beside]}]}))
    figures = {each.candidate.variant: each for each in figures_of(stack, "echo", Objective("ttft", 0.5), file, None)}
    assert figures["int8"].engine_s == pytest.approx(50 / 1.5)
    assert figures["int8"].candidate.within is None
    within = figures["baseline"].candidate.within
    assert within is not None
    assert within.low > 0.98
    with pytest.raises(InputError, match="has no figures of near"):
        figures_of(stack.model_copy(update={"models": {"near": stack.models["echo"]}}), "near", None, file, None)
