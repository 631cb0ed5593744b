"""Tool calls and structured output on vLLM, as a stack file starts it, asked by the official openai client."""

from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest

from serve.config.parsers import REASONING_PARSERS, TOOL_PARSERS
from tests.integration.serve.engines.engine import Engine, running_vllm, write_manifest
from tests.integration.serve.engines.tiny_text import CONTEXT, write_tiny_text
from variants.document import Document

pytestmark = pytest.mark.integration

NAME = "tiny@tools"
TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools> Answer in <tool_call>{}</tool_call>. {% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Rating(Document):
    mood: Literal["good", "bad"]
    stars: Literal[1, 2, 3]


SCHEMA = Rating.model_json_schema()
TOOL: Any = {"type": "function", "function": {"name": "rate", "description": "rates", "parameters": SCHEMA}}
FORCED: Any = {"type": "function", "function": {"name": "rate"}}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "rating", "schema": SCHEMA, "strict": True}}
MESSAGES: Any = [{"role": "user", "content": "a good film"}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("tools")
    write_tiny_text(folder / "model", positions=8 * CONTEXT)
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE)
    write_manifest(folder)
    settings = {"context": 8 * CONTEXT, "kv_cache_mib": 16, "sequences": 4}
    with running_vllm(folder, NAME, "--dtype", "float32", **settings) as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)


def test_a_forced_tool_call_has_arguments_of_its_schema(client: openai.OpenAI) -> None:
    for seed in range(3):
        answer = client.chat.completions.create(
            model=NAME, messages=MESSAGES, tools=[TOOL], tool_choice=FORCED, max_tokens=200, seed=seed
        )
        calls = answer.choices[0].message.tool_calls
        assert calls is not None
        assert [call.function.name for call in calls] == ["rate"]
        Rating.model_validate_json(calls[0].function.arguments)


def test_a_forced_tool_call_is_streamed(client: openai.OpenAI) -> None:
    names, arguments = [], ""
    for chunk in client.chat.completions.create(
        model=NAME, messages=MESSAGES, tools=[TOOL], tool_choice=FORCED, max_tokens=200, seed=1, stream=True
    ):
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                names += [call.function.name] if call.function.name else []
                arguments += call.function.arguments or ""
    assert names == ["rate"]
    Rating.model_validate_json(arguments)


def test_tools_that_the_model_may_use_are_accepted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=NAME, messages=MESSAGES, tools=[TOOL], tool_choice="auto", max_tokens=4
    )
    assert answer.choices[0].finish_reason in ("length", "stop", "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output_is_an_instance_of_its_schema(client: openai.OpenAI, stream: bool) -> None:
    fields: Any = {"model": NAME, "messages": MESSAGES, "response_format": FORMAT, "max_tokens": 200, "seed": 3}
    if stream:
        chunks = list(client.chat.completions.create(**fields, stream=True))
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    else:
        text = client.chat.completions.create(**fields).choices[0].message.content or ""
    Rating.model_validate_json(text)


def test_the_names_of_parsers_are_vllms() -> None:
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    assert sorted(TOOL_PARSERS) == sorted(ToolParserManager.list_registered())
    assert sorted(REASONING_PARSERS) == sorted(ReasoningParserManager.list_registered())
