"""What a folder of Hugging Face files says of its model: its configuration, its chat template, its positions.

Reads JSON and text only, and loads no library of models."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, TemplateError, meta

POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
"""The keys in which vLLM looks for the number of positions. It takes the smallest."""
UNSCALED = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""Kinds of RoPE whose `factor` is in the number of positions already."""
GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""A tag of transformers that marks the assistant's words. Jinja itself does not know it."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file; empty where the file is missing or holds something else."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model's folder; empty without one."""
    return read_json(folder / "config.json")


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that describes the language model: all of it, unless the model also reads images."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def most_positions(config: dict[str, Any]) -> int | None:
    """The largest context in tokens that vLLM accepts for a configuration; None where it names no limit."""
    text = text_config(config)
    named = [value for key in POSITIONS if isinstance(value := text.get(key), int) and value > 0]
    if not named:
        return None
    total = text.get("model_max_length")
    own = total if isinstance(total, int) and total > 0 else None
    most = own or min(named)
    scaled = most if "gemma3" in str(text.get("model_type")) else int(most * rope_factor(text))
    return max(scaled, own or 0)


def whole(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of these keys that holds a whole number; None where none does."""
    return next((value for key in keys if isinstance(value := config.get(key), int)), None)


class Heads(NamedTuple):
    """The attention of a language model. `cache_bytes` is its key-value cache of one token, in numbers of 16 bits."""

    queries: int
    keys: int
    cache_bytes: int


def heads_of(config: Mapping[str, Any]) -> Heads:
    """The attention that a language model's part of a configuration describes; 0 bytes where it has no layers."""
    queries = whole(config, "num_attention_heads", "n_head") or 1
    keys = whole(config, "num_key_value_heads") or queries
    width = whole(config, "head_dim") or (whole(config, "hidden_size", "n_embd", "dim") or 0) // queries
    layers = whole(config, "num_hidden_layers", "n_layer", "num_layers") or 0
    return Heads(queries, keys, 2 * 2 * layers * width * keys)


def rope_factor(text: dict[str, Any]) -> float:
    """How many times as many positions as trained RoPE scaling gives; 1 without scaling."""
    rope = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(rope, dict):
        return 1.0
    by_layer = [part for part in rope.values() if isinstance(part, dict) and ("rope_type" in part or "type" in part)]
    factor = 1.0
    for part in by_layer or [rope]:
        kind, given = part.get("rope_type", part.get("type")), part.get("factor")
        if kind not in UNSCALED and isinstance(given, int | float):
            factor = float(given)
    return factor


def chat_template(folder: Path) -> str:
    """The chat template that vLLM uses where a request has tools; empty without a template."""
    for name in ("chat_template.jinja", "chat_template.json"):
        path = folder / name
        if path.is_file():
            text = path.read_text(errors="replace")
            return text if name.endswith(".jinja") else str(read_json(path).get("chat_template") or "")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several templates by name
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("tool_use") or named.get("default")
    return template if isinstance(template, str) else ""


def variables(template: str) -> set[str]:
    """The variables that a chat template reads, `tools` among them where it can show tools to its model."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])  # noqa: S701 - parsed, never rendered
    try:
        return meta.find_undeclared_variables(environment.parse(GENERATION_TAG.sub("", template)))
    except (TemplateError, RecursionError):
        return set()
