"""What a run leaves in its folder when it stops early: the cards of the run before it that still hold, and its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from serve.config.lineage import VariantRef
from serve.config.stack import Stack
from serve.study.runner import Runner, StudyPlan, describe_study
from serve.study.schema import FILE, Study, StudyCard, read_study
from tests.support.recipes import parse_recipe
from tests.support.scripted import SOURCE, make_stack
from tests.support.study import BF16, INT8, baseline, card, made_study, scripted_stack
from variants.artifacts.store import Artifact
from variants.errors import EngineError
from variants.machine import describe, versions
from variants.methods.registry import find

STACK = scripted_stack(int8=INT8, bf16=BF16)
ENGINE = STACK.models["bands"].variants["int8"].engine.model_dump(mode="json")


def bands(variant: str = "int8", recipe: dict[str, Any] = INT8, **other: Any) -> StudyCard:
    """A card as an earlier run of STACK left it."""
    parsed = parse_recipe(recipe)
    method = find("image-classification", parsed, "recipe")
    facts = {
        "model": "bands", "recipe": parsed.model_dump(mode="json", exclude_none=True), "versions": versions(),
        "engine_settings": ENGINE, "method": f"{method.name}/{method.version}",
    }  # fmt: skip
    if variant == "baseline":
        return baseline(**facts | {"sources": [SOURCE["uri"]]} | other)
    return card(variant, **facts | {"parent_engine": ENGINE} | other)


BASE, QUANTIZED = bands("baseline", {"kind": "baseline", "dtype": "float32"}), bands()


def broken(stack: Stack, line: Sequence[VariantRef]) -> Mapping[VariantRef, Artifact]:
    raise EngineError("the build was killed")


def run_out(out: Path, stack: Stack = STACK, only: str | None = None) -> Study:
    """A run that had no time for a single card."""
    return Runner(StudyPlan(stack, only, budget_s=0), out, broken).run()


def left(study: Study, out: Path) -> Path:
    (out / FILE).write_bytes(study.to_json())
    return out


def test_a_run_without_a_card_leaves_a_page_and_figures_that_agree(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("an older page")
    study = run_out(tmp_path)
    assert (study.cards, len(study.missing)) == ((), 3)
    assert read_study(tmp_path) == study
    assert "Not measured yet: bands@baseline, bands@int8, bands@bf16" in (tmp_path / "index.html").read_text()
    assert "index.html" in describe_study(study, tmp_path)


def test_what_an_earlier_run_measured_stays_and_is_not_missing(tmp_path: Path) -> None:
    study = run_out(left(made_study(QUANTIZED, BASE), tmp_path))
    assert study.cards == (BASE, QUANTIZED), "in the order of the stack"
    assert study.missing == ("bands@bf16",)
    assert read_study(tmp_path) == study
    assert 'id="card-bands@int8"' in (tmp_path / "index.html").read_text()


def test_a_baseline_of_other_weights_is_not_taken_over(tmp_path: Path) -> None:
    other = bands("baseline", {"kind": "baseline", "dtype": "float32"}, sources=["/other/weights"])
    assert run_out(left(made_study(other), tmp_path)).cards == ()


@pytest.mark.parametrize(
    "stale",
    [
        bands(recipe=INT8 | {"calibration": {"task": "mnist", "examples": 33}}),
        bands(versions=versions() | {"torch": "1"}),
        bands(engine_settings=ENGINE | {"token_s": 0.5}),
        bands(engine_settings=None),
        bands(parent_digest="ef" * 32),
        bands(parent_engine=ENGINE | {"token_s": 0.5}),
        bands(parent="bf16"),
        bands(task="imagenet"),
        bands(method="nncf-static-int8/0"),
        bands(seed=1),
        bands(limit=999),
        bands(limit=None),
        bands("int9"),
        bands(model="other"),
    ],
)
def test_a_card_that_no_longer_holds_is_not_taken_over(tmp_path: Path, stale: StudyCard) -> None:
    assert run_out(left(made_study(BASE, stale), tmp_path)).cards == (BASE,)


def test_the_study_of_another_machine_is_not_taken_over(tmp_path: Path) -> None:
    other = made_study(BASE).model_copy(update={"machine": describe().model_copy(update={"cores": 4711})})
    assert run_out(left(other, tmp_path)).cards == ()


def test_one_family_by_itself_leaves_the_others_cards(tmp_path: Path) -> None:
    stack = STACK.model_copy(update={"models": STACK.models | {"echo": make_stack().models["echo"]}})
    study = run_out(left(made_study(BASE, QUANTIZED), tmp_path), stack, "text-generation")
    assert study.cards == (BASE, QUANTIZED)
    assert {name.partition("@")[0] for name in study.missing} == {"echo"}


def test_what_this_run_made_or_failed_to_make_replaces_the_earlier_card(tmp_path: Path) -> None:
    runner = Runner(StudyPlan(STACK), left(made_study(BASE, QUANTIZED, bands("bf16", BF16)), tmp_path), broken)
    runner.one(("bands", "int8"))
    assert [each.variant for each in runner.study().cards] == ["baseline", "bf16"]
    assert [each.variant for each in runner.study().failed] == ["int8"]
    again = BASE.model_copy(update={"digest": "cd" * 32})
    runner.cards["bands", "baseline"] = again
    assert runner.study().cards == (again,), "bf16 was compared with another build"
    assert runner.study().missing == ("bands@bf16",)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_a_study_that_cannot_be_read_is_left_out_and_said_to_be(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert run_out(tmp_path).cards == ()
    said = capsys.readouterr().err
    assert "study: starts anew" in said
    assert f"{tmp_path / FILE} is not a valid Study" in said
