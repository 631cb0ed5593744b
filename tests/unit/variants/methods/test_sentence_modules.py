"""What sentence-transformers would do to every text, and nothing here does."""

import json
from pathlib import Path
from typing import Any

import pytest

from variants.errors import SourceError
from variants.methods.sentence_modules import check_prompt

PROMPTS = {"query": "query: ", "plain": ""}


def write(folder: Path, settings: Any) -> Path:
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prompts": PROMPTS, "default_prompt_name": None},
        {"prompts": PROMPTS},
        {"prompts": PROMPTS, "default_prompt_name": "plain"},
    ],
)
def test_prompts_that_are_chosen_for_a_call_are_the_clients(tmp_path: Path, settings: Any) -> None:
    check_prompt(tmp_path)
    check_prompt(write(tmp_path, settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": PROMPTS, "default_prompt_name": "query"},
        {"prompts": PROMPTS, "default_prompt_name": "other"},
        {"default_prompt_name": "query"},
        {"prompts": PROMPTS, "default_prompt_name": ["query"]},
    ],
)
def test_a_prompt_before_every_text_is_refused_by_name(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(SourceError, match="default_prompt_name") as refused:
        check_prompt(write(tmp_path, settings))
    assert refused.value.field == "source.uri"
