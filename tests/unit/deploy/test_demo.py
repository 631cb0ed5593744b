"""What the demo serves first, and the command that asks it."""

import shlex
from pathlib import Path

import pytest

from deploy.demo import STATE, baselines_of, demo, try_it, written
from serve.config.loader import load, only
from tests.support.processes import ROOT
from variants.errors import StackError
from variants.home import STORED

STACK = load(ROOT / "deploy" / "stacks" / "demo.yaml")


def test_baselines_that_need_no_training_answer_first(tmp_path: Path) -> None:
    first = baselines_of(STACK)
    assert first is not None
    assert {name: list(model.variants) for name, model in first.models.items()} == {
        "smollm2": ["baseline"],
        "minilm": ["baseline"],
    }
    assert load(written(first, tmp_path / "first.yaml")) == first


def test_a_stack_whose_models_are_trained_has_no_first_part() -> None:
    assert baselines_of(only(STACK, "digits")) is None


def test_the_command_to_try_is_one_line_of_shell() -> None:
    said, command = try_it("http://127.0.0.1:8000", STACK).splitlines()
    assert said.startswith("smollm2@baseline, smollm2@int8")
    assert shlex.split(command)[-1].startswith('{"model": "smollm2"')
    _, command = try_it("http://127.0.0.1:8000", only(STACK, "digits")).splitlines()
    assert shlex.split(command) == ["curl", "http://127.0.0.1:8000/v1/models"]


def test_a_wrong_campaign_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="there is no campaign file"):
        demo(ROOT / "deploy" / "stacks" / "demo.yaml", tmp_path / "none.yaml", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_demo_removes_is_no_folder_of_a_home() -> None:
    assert STATE not in STORED
