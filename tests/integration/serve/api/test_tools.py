"""One model whose variants differ: vLLM calls tools, a scripted engine does not. Routed requests go to vLLM."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest

from serve.config.artifacts import build_stack
from serve.config.loader import parse
from serve.ports import free_port
from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.support.local_stage import Local, local
from variants.document import Document

pytestmark = pytest.mark.integration
CONTEXT = 1024
TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools> Answer in <tool_call>{}</tool_call>. {% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MESSAGES: Any = [{"role": "user", "content": "a good film"}]
CAPABLE = {("real", "capable")}


class Rating(Document):
    mood: Literal["good", "bad"]


TOOL: Any = {"type": "function", "function": {"name": "rate", "parameters": Rating.model_json_schema()}}
CALL: Any = {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "rate"}}}
SCHEMA = {"name": "rating", "schema": Rating.model_json_schema()}
FORMAT: Any = {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Local]:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    (write_tiny_text(tmp_path / "tiny", CONTEXT) / "chat_template.jinja").write_text(TEMPLATE)
    recipe = {"kind": "baseline", "dtype": "float32"}
    vllm = {"kind": "vllm", "context": CONTEXT, "kv_cache_mib": 16, "sequences": 4}
    model = {
        "task": "text-generation",
        "source": {"uri": str(tmp_path / "tiny"), "licence": "none"},
        "aliases": ["gpt-4o"],
        "variants": {
            "real": {"recipe": recipe, "engine": vllm, "weight": 1},
            "script": {"recipe": recipe, "engine": {"kind": "scripted"}, "weight": 9},
        },
    }
    stack = parse({"schema": 1, "server": {"port": free_port()}, "models": {"tiny": model}})
    async with local(tmp_path / "home", stack, build_stack(stack)) as served:
        yield served


async def test_tools_and_structured_output_through_the_door(served: Local) -> None:
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{served.client.base_url.port}/v1", api_key="none")
    fields: Any = {"messages": MESSAGES, "max_tokens": 100, "seed": 1}
    listed = {model.id: model.model_dump()["capabilities"] async for model in client.models.list()}
    assert (listed["tiny"]["tools"], listed["tiny@real"]["tools"], listed["tiny@script"]["tools"]) == (
        True,
        True,
        False,
    )

    for name in ("tiny", "gpt-4o"):
        raw = await client.chat.completions.with_raw_response.create(model=name, **fields, **CALL)
        assert {(raw.headers["x-understudy-variant"], raw.headers["x-understudy-reason"])} == CAPABLE
        answer = raw.parse()
        assert answer.model == ("tiny@real" if name == "tiny" else "gpt-4o")
        calls = answer.choices[0].message.tool_calls
        assert calls is not None
        Rating.model_validate_json(calls[0].function.arguments)

        arguments, models = "", set()
        async for chunk in await client.chat.completions.create(model=name, **fields, **CALL, stream=True):
            models.add(chunk.model)
            for choice in chunk.choices:
                for call in choice.delta.tool_calls or []:
                    arguments += (call.function.arguments or "") if call.function else ""
        assert models == {answer.model}
        Rating.model_validate_json(arguments)

    for name in ("tiny@real", "tiny@script"):
        answer = await client.chat.completions.create(model=name, **fields, **FORMAT)
        Rating.model_validate_json(answer.choices[0].message.content or "")

    with pytest.raises(openai.BadRequestError, match="ask tiny@real") as refused:
        await client.chat.completions.create(model="tiny@script", **fields, **CALL)
    assert refused.value.param == "tools"
