"""What a sentence-transformers folder says beside its modules."""

import json
from pathlib import Path
from typing import Any

import pytest

from variants.errors import SourceError
from variants.methods.sentence_modules import PROMPTS, check_prompt

QUERY = {"query": "query: ", "document": ""}


def says(folder: Path, settings: Any) -> Path:
    (folder / PROMPTS).write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prompts": None, "default_prompt_name": None},
        {"prompts": QUERY, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        {"prompts": QUERY, "default_prompt_name": "document"},
    ],
)
def test_prompts_that_are_not_written_by_default_are_taken(tmp_path: Path, settings: Any) -> None:
    check_prompt(tmp_path)
    check_prompt(says(tmp_path, settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": QUERY, "default_prompt_name": "query"},
        {"prompts": QUERY, "default_prompt_name": "passage"},
        {"prompts": None, "default_prompt_name": "query"},
    ],
)
def test_a_default_prompt_is_refused_by_name(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(SourceError, match=r"config_sentence_transformers\.json has the default_prompt_name") as refused:
        check_prompt(says(tmp_path, settings))
    assert refused.value.field == "source.uri"
    assert "null there" in str(refused.value)


@pytest.mark.parametrize("settings", [[], {"prompts": 3}, {"default_prompt_name": 3}])
def test_a_file_that_says_no_prompts_is_refused(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(SourceError, match=r"config_sentence_transformers\.json"):
        check_prompt(says(tmp_path, settings))
