"""`judge` and `keep_answers` of a model in the stack file."""

from typing import Any

import pytest
from pydantic import ValidationError

from serve.config.judge import INSTRUCTION, Judge
from serve.config.keep_answers import KeepAnswers
from serve.config.stack import Stack
from tests.support.scripted import echo_stack


def stack(**settings: Any) -> Stack:
    document = echo_stack(8000).model_dump(mode="json", by_alias=True)
    document["models"]["echo"] |= settings
    return Stack.model_validate(document)


def test_a_judge_is_a_model_of_the_stack_or_at_an_address() -> None:
    variant = next(iter(stack().models["echo"].variants))
    for judge in ({"model": "echo"}, {"model": f"echo@{variant}"}, {"model": "big", "url": "http://127.0.0.1:9/v1"}):
        read = stack(judge=judge).models["echo"].judge
        assert read is not None
        assert read.instruction == INSTRUCTION


@pytest.mark.parametrize(
    "judge",
    [
        {},
        {"model": "unknown"},
        {"model": "echo@unknown"},
        {"model": "big", "url": "ftp://127.0.0.1/v1"},
        {"model": "big", "url": "http://name:word@127.0.0.1/v1"},
        {"model": "echo", "key_env": "KEY"},
        {"model": "big", "url": "http://127.0.0.1/v1", "key_env": "not a name"},
    ],
)
def test_refuses_a_judge_that_nobody_can_ask(judge: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stack(judge=judge)


@pytest.mark.parametrize("keep", [{"days": 0}, {"most": 0}, {"share": 0}, {"share": 1.5}, {"days": True}, {"weeks": 1}])
def test_refuses_bounds_that_keep_nothing(keep: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KeepAnswers.model_validate(keep)


def test_a_stack_without_them_is_written_as_before() -> None:
    document = stack().model_dump(mode="json", by_alias=True)["models"]["echo"]
    assert not {"judge", "keep_answers"} & set(document)
    assert Judge(model="echo").model_dump() == {"model": "echo", "instruction": INSTRUCTION}
