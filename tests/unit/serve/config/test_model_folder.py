"""Positions, templates and parsers, read from a model's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.config.model_folder import chat_template, most_positions, read_config, variables
from serve.config.parsers import parsers_of, reasoning_parser, tool_parser

PLAIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
HERMES = PLAIN + "{% if tools %}<tool_call>{{ tools | tojson }}</tool_call>{% endif %}"
THINKS = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({}, None),
        ({"max_position_embeddings": 1024}, 1024),
        ({"n_positions": 1024}, 1024),
        ({"max_seq_len": 2048, "n_positions": 512}, 512),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 4}}, 16384),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 32768, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 32768),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        ({"text_config": {"max_position_embeddings": 256}, "max_position_embeddings": 77}, 256),
    ],
)
def test_positions(config: dict[str, Any], most: int | None) -> None:
    assert most_positions(config) == most


@pytest.mark.parametrize("content", [None, "[]", "{", "\xff"])
def test_a_folder_without_a_configuration_says_nothing(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content, encoding="latin-1")
    assert read_config(tmp_path) == {}
    assert (chat_template(tmp_path), most_positions({})) == ("", None)


def test_a_template_is_read_wherever_it_stands(tmp_path: Path) -> None:
    named = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": HERMES}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": PLAIN}))
    assert chat_template(tmp_path) == PLAIN
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert chat_template(tmp_path) == HERMES
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert chat_template(tmp_path) == "{{ messages }}"


def test_the_variables_of_a_template() -> None:
    assert variables("{% generation %}{{ tools }}{% endgeneration %}{% break %}") == {"tools"}
    assert variables("{% for m in messages %}{{ m.tools }}{% endfor %}") == {"messages"}
    assert variables("{% for") == set()


@pytest.mark.parametrize(
    ("template", "kind", "parser"),
    [
        (PLAIN, "llama", None),
        (HERMES, "llama", "hermes"),
        (HERMES, "qwen2", "hermes"),
        ("{{ tools }} Environment: ipython", "llama", "llama3_json"),
        ("{{ tools }}", "llama4", "llama4_pythonic"),
        ("{{ tools }}[TOOL_CALLS]", "mistral", "mistral"),
        ("{{ tools }}<｜tool▁calls▁begin｜>```json", "qwen2", "deepseek_v3"),
        ("{{ tools }}<｜tool▁calls▁begin｜>", "deepseek_v3", "deepseek_v31"),
        ("{{ tools }}<tool_call>\n<function=", "qwen3_moe", "qwen3_coder"),
        ("{{ tools }}<tool_call><arg_key>", "glm4_moe", "glm45"),
        ("{{ tools }}<tool_call>", "granitemoehybrid", "granite4"),
        ("{{ tools }}", "gpt_oss", "openai"),
        ("{{ tools }}", "unheard_of", None),
    ],
)
def test_the_parser_of_tool_calls(template: str, kind: str, parser: str | None) -> None:
    assert tool_parser(template, kind) == parser


@pytest.mark.parametrize(
    ("template", "kind", "parser"),
    [
        (PLAIN + THINKS, "qwen3", "qwen3"),
        (PLAIN + THINKS, "qwen2", "deepseek_r1"),
        (PLAIN + "{{ content.split('</think>') }}{% if add_generation_prompt %}a{% endif %}", "qwen3", None),
        ("<｜Assistant｜>{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}", "llama", "deepseek_r1"),
        ("<｜Assistant｜>{% if thinking %}<think>{% endif %}", "deepseek_v3", "deepseek_v3"),
        (PLAIN, "gpt_oss", "openai_gptoss"),
        (PLAIN, "llama", None),
    ],
)
def test_the_parser_of_reasoning(template: str, kind: str, parser: str | None) -> None:
    assert reasoning_parser(template, kind) == parser


def test_the_stack_file_decides_over_the_model(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(HERMES + THINKS)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    assert parsers_of(tmp_path, None, None) == ("hermes", "qwen3")
    assert parsers_of(tmp_path, "none", "none") == (None, None)
    assert parsers_of(tmp_path, "xlam", "deepseek_r1") == ("xlam", "deepseek_r1")
