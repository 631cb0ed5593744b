"""vLLM's parsers of tool calls and of reasoning, and which of them fits a model.

A parser reads the marks that a model was trained to write. The chat template shows them. So marks in the template
decide first, then the kind of model: DeepSeek's distilled models are Qwen or Llama by kind, and write DeepSeek's marks.
"""

from pathlib import Path
from typing import NamedTuple

from serve.config.model_folder import chat_template, read_config, text_config, variables

NONE = "none"
"""What a stack file says to have no parser."""
TOOL_PARSERS = (
    "apertus", "cohere_command3", "cohere_command4", "deepseek_v3", "deepseek_v31", "deepseek_v32", "deepseek_v4",
    "deepseek_v41", "dots", "ernie45", "functiongemma", "gemma4", "gigachat3", "glm45", "glm47", "granite",
    "granite-20b-fc", "granite4", "hermes", "hf", "hunyuan_a13b", "hy_v3", "hy_v4", "inkling", "internlm", "jamba",
    "k2_horizon", "kimi_k2", "kimi_k3", "lfm2", "ling3", "llama3_json", "llama4_json", "llama4_pythonic", "longcat",
    "mimo", "minicpm5", "minimax_m2", "minimax_m3", "mistral", "muse_glimmer", "olmo3", "openai", "phi4_mini_json",
    "plamo3", "poolside_v1", "pythonic", "qwen3_coder", "qwen3_json", "qwen3_xml", "seed_oss", "step3", "step3p5",
    "xlam",
)  # fmt: skip
REASONING_PARSERS = (
    "cohere_command3", "cohere_command4", "deepseek_r1", "deepseek_v3", "deepseek_v4", "deepseek_v41", "ernie45",
    "gemma4", "glm45", "glm47", "granite", "granite_thinking_parser", "hf", "holo2", "hunyuan_a13b", "hy_v3", "hy_v4",
    "inkling", "k2_horizon", "kimi_k2", "kimi_k3", "ling3", "mimo", "minicpmv", "minimax_m2",
    "minimax_m2_append_think", "minimax_m3", "mistral", "muse_glimmer", "nemotron_v3", "olmo3", "openai_gptoss",
    "plamo3", "poolside_v1", "qwen3", "seed_oss", "step3", "step3p5",
)  # fmt: skip
MARKS = {
    "<｜tool▁calls▁begin｜>": "deepseek_v31",
    "<|tool_calls_section_begin|>": "kimi_k2",
    "<minimax:tool_call>": "minimax_m2",
    "<seed:tool_call>": "seed_oss",
    "<start_function_call>": "functiongemma",
    "<|tool_call_start|>": "lfm2",
    "<|action_start|>": "internlm",
    "<function_calls>": "olmo3",
    "[TOOL_CALLS]": "mistral",
    "<function=": "qwen3_coder",
    "<arg_key>": "glm45",
    "<|tool_call|>": "granite",
    "<tool_call>": "hermes",
    "ipython": "llama3_json",
}
"""Parsers of tool calls by a mark in the template. The first that occurs decides."""
TOOLS_BY_KIND = {
    "gpt_oss": "openai",
    "llama4": "llama4_pythonic",
    "granitemoehybrid": "granite4",
    "ernie4_5_moe": "ernie45",
    "hunyuan_v1_moe": "hunyuan_a13b",
    "cohere2": "cohere_command3",
    "gemma4": "gemma4",
    "apertus": "apertus",
    "jamba": "jamba",
    "mistral": "mistral",
    "mistral3": "mistral",
    "mixtral": "mistral",
    "llama": "llama3_json",
    "qwen2": "hermes",
    "qwen3": "hermes",
}
SPECIAL = ("gpt_oss", "llama4", "granitemoehybrid", "ernie4_5_moe", "hunyuan_v1_moe", "cohere2", "gemma4", "jamba")
"""Kinds whose marks are also those of others, so that the kind decides first."""
REASONING_BY_KIND = {
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3",
    "qwen3_next": "qwen3",
    "glm4_moe": "glm45",
    "granite": "granite",
    "ernie4_5_moe": "ernie45",
    "hunyuan_v1_moe": "hunyuan_a13b",
    "seed_oss": "seed_oss",
    "minimax_m2": "minimax_m2",
    "olmo3": "olmo3",
    "step3_text": "step3",
}


class Parsers(NamedTuple):
    """Names of vLLM's parsers; None for no parser."""

    tools: str | None
    reasoning: str | None


def parsers_of(folder: Path, tools: str | None, reasoning: str | None) -> Parsers:
    """The parsers for the model in `folder`. `tools` and `reasoning` are what the stack file says: a name, `none`, or
    None to choose by the model."""
    template, kind = chat_template(folder), str(text_config(read_config(folder)).get("model_type", ""))
    chosen_tools = tools or tool_parser(template, kind)
    chosen_reasoning = reasoning or reasoning_parser(template, kind)
    return Parsers(*(None if name == NONE else name for name in (chosen_tools, chosen_reasoning)))


def tool_parser(template: str, kind: str) -> str | None:
    """The parser for a chat template and a `model_type`; None where the template cannot show tools to its model."""
    if "tools" not in variables(template):
        return None
    if kind in SPECIAL:
        return TOOLS_BY_KIND[kind]
    marked = next((parser for mark, parser in MARKS.items() if mark in template), None)
    if marked == "deepseek_v31" and "```json" in template:
        return "deepseek_v3"  # V3 and R1 write the arguments as a block of JSON
    return marked or TOOLS_BY_KIND.get(kind)


def reasoning_parser(template: str, kind: str) -> str | None:
    """The parser for a chat template and a `model_type`; None where the template does not have the model reason.

    Templates of models that do not reason may also name the marks, to remove them from earlier turns. So only what
    follows `add_generation_prompt` counts."""
    if kind == "gpt_oss":
        return "openai_gptoss"
    read = variables(template)
    if "<｜Assistant｜>" in template and "thinking" in read:
        return "deepseek_v3"
    if "thinking" in read and kind == "granite":
        return "granite"
    _, _, opening = template.rpartition("add_generation_prompt")
    if "[THINK]" in template:
        return "mistral"
    return REASONING_BY_KIND.get(kind, "deepseek_r1") if "<think>" in opening else None
