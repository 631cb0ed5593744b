"""Tools and JSON schemas through Responses and Messages, over vLLM with a tiny random model: forced calls are decoded
under the tool's schema, so their arguments are valid whatever the weights are."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from serve.config.loader import parse
from serve.config.stack import Stack
from serve.engines.launch import Launch, launch
from serve.ports import free_port
from tests.integration.serve.engines.engine import write_manifest
from tests.integration.serve.engines.tiny_text import TEMPLATE, write_tiny_text
from tests.support import local_stage
from tests.support.local_stage import Local, local
from tests.support.scripted import RECIPE, SOURCE
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
ASK = "a good film"
CONTEXT = 512
TOOLS = "{% if tools %}<tool_call>{% for t in tools %}{{ t.function.name }}{% endfor %}{% endif %}" + TEMPLATE
PARSER = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


def with_parser(*asked: Any) -> Launch:
    """vLLM takes forced calls only where it has a parser of calls."""
    how = launch(*asked)
    return how if "--tool-call-parser" in how.command else replace(how, command=(*how.command, *PARSER))


def write_model(folder: Path) -> None:
    """The tiny model, with a longer context and a template that shows tools."""
    write_tiny_text(folder)
    (folder / "chat_template.jinja").write_text(TOOLS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))


def stack_of(port: int) -> Stack:
    engine = {"kind": "vllm", "context": CONTEXT, "kv_cache_mib": 16, "sequences": 4}
    variant = {"recipe": RECIPE, "engine": engine, "weight": 1}
    model = {"task": "text-generation", "source": SOURCE, "variants": {"baseline": variant}}
    return parse({"schema": 1, "server": {"port": port}, "models": {"tiny": model}})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Local]:
    home = tmp_path_factory.mktemp("tiny")
    write_model(home / "artifact" / "model")
    write_manifest(home / "artifact")
    manifest = Manifest.from_json((home / "artifact" / "manifest.json").read_bytes(), "the manifest")
    artifact = Artifact(Path(home / "artifact"), manifest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(home))
        patch.setattr(local_stage, "launch", with_parser)
        async with local(home, stack_of(free_port()), {("tiny", "baseline"): artifact}) as served:
            yield served


def openai_of(tiny: Local) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{tiny.client.base_url}/v1", api_key="none", max_retries=0, timeout=120)


def anthropic_of(tiny: Local) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=str(tiny.client.base_url), api_key="none", max_retries=0, timeout=120)


async def test_a_response_calls_a_function_and_takes_its_output(tiny: Local) -> None:
    client = openai_of(tiny)
    asked: dict[str, Any] = {
        "model": "tiny",
        "input": [{"role": "user", "content": ASK}],
        "temperature": 0,
        "max_output_tokens": 200,
        "tools": [{"type": "function", "name": "judge", "parameters": SCHEMA, "strict": True}],
        "tool_choice": {"type": "function", "name": "judge"},
    }
    response = await client.responses.create(**asked)
    call = response.output[-1]
    assert (call.type, response.status) == ("function_call", "completed")
    assert call.name == "judge"
    assert json.loads(call.arguments)["mood"] in ("good", "bad")

    events = [event async for event in await client.responses.create(**asked, stream=True)]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    done = next(event for event in events if event.type == "response.function_call_arguments.done")
    assert "".join(deltas) == done.arguments
    assert json.loads(done.arguments) == json.loads(call.arguments)
    assert events[-1].type == "response.completed"
    streamed = events[-1].response.output[-1]
    assert (streamed.type, streamed.name, streamed.arguments) == ("function_call", "judge", done.arguments)

    turns = [*asked["input"], *[item.model_dump(exclude_none=True) for item in response.output]]
    turns.append({"type": "function_call_output", "call_id": call.call_id, "output": "4 stars"})
    after = await client.responses.create(**{**asked, "input": turns, "tool_choice": "none", "max_output_tokens": 4})
    assert after.usage is not None
    assert response.usage is not None
    assert after.usage.input_tokens > response.usage.input_tokens


async def test_a_message_uses_a_tool_and_takes_its_result(tiny: Local) -> None:
    client = anthropic_of(tiny)
    turns: list[Any] = [{"role": "user", "content": ASK}]
    asked: dict[str, Any] = {
        "model": "tiny",
        "max_tokens": 200,
        "tools": [{"name": "judge", "input_schema": SCHEMA, "strict": True}],
        "extra_body": {"temperature": 0},
    }
    forced = {**asked, "tool_choice": {"type": "tool", "name": "judge"}}
    message = await client.messages.create(messages=turns, **forced)
    use = message.content[-1]
    assert (use.type, message.stop_reason) == ("tool_use", "tool_use")
    assert use.name == "judge"
    assert use.input["mood"] in ("good", "bad")

    async with client.messages.stream(messages=turns, **forced) as stream:
        final = await stream.get_final_message()
    streamed = final.content[-1]
    assert (streamed.type, final.stop_reason) == ("tool_use", "tool_use")
    assert (streamed.name, streamed.input) == (use.name, use.input)

    turns.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "4 stars"}]}
    turns.append({"role": "user", "content": [result, {"type": "text", "text": "well?"}]})
    after = await client.messages.create(messages=turns, **{**asked, "tool_choice": {"type": "none"}, "max_tokens": 4})
    assert after.usage.input_tokens > message.usage.input_tokens


async def test_a_schema_holds_in_both_formats(tiny: Local) -> None:
    form = {"type": "json_schema", "name": "mood", "schema": SCHEMA, "strict": True}
    response = await openai_of(tiny).responses.create(
        model="tiny",
        input=ASK,
        max_output_tokens=200,
        temperature=0,
        text={"format": form},
    )
    assert json.loads(response.output_text)["mood"] in ("good", "bad")
    body = {"model": "tiny", "max_tokens": 200, "messages": [{"role": "user", "content": ASK}], "temperature": 0}
    body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = (await tiny.client.post("/v1/messages", json=body, timeout=120)).json()
    assert json.loads(message["content"][0]["text"]) == json.loads(response.output_text)


async def test_a_last_message_of_the_assistant_is_continued(tiny: Local) -> None:
    """The prompt ends with that message, so the answer is the one to the same prompt as a completion."""
    turns = [{"role": "user", "content": ASK}, {"role": "assistant", "content": "a bad"}]
    body = {"model": "tiny", "max_tokens": 6, "messages": turns, "temperature": 0}
    message = (await tiny.client.post("/v1/messages", json=body, timeout=120)).json()
    prompt = {"model": "tiny", "prompt": f"<user>{ASK}<assistant>a bad", "max_tokens": 6, "temperature": 0}
    completion = (await tiny.client.post("/v1/completions", json=prompt, timeout=120)).json()
    assert message["content"][0]["text"] == completion["choices"][0]["text"]
