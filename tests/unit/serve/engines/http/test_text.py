"""The text routes over the scripted engine, in this process: where a prompt is tokenized, and which never is."""

import threading

import httpx
import pytest

from serve.engines.http import text as text_api
from serve.engines.scripted.engine import Script, ScriptedText

CONTEXT = 64
PATHS = {
    "/v1/completions": lambda text: {"prompt": text},
    "/tokenize": lambda text: {"prompt": text},
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
}


class Watched(ScriptedText):
    """Knows which threads tokenized."""

    def __init__(self) -> None:
        super().__init__(Script(0.0, 0.0, None, None), CONTEXT)
        self.threads: list[threading.Thread] = []

    def encode(self, text: str, *, special: bool) -> list[int]:
        self.threads.append(threading.current_thread())
        return super().encode(text, special=special)


async def post(engine: ScriptedText, path: str, text: str) -> httpx.Response:
    transport = httpx.ASGITransport(text_api.build(engine, {"echo"}, None))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        return await client.post(path, json={"model": "echo"} | PATHS[path](text))


@pytest.mark.parametrize("path", PATHS)
async def test_tokenizing_leaves_the_event_loop_free(path: str) -> None:
    engine = Watched()
    assert (await post(engine, path, "one two three")).status_code == 200
    assert len(engine.threads) == 1
    assert engine.threads[0] is not threading.current_thread()


@pytest.mark.parametrize("path", PATHS)
async def test_a_text_that_cannot_fit_is_not_tokenized(path: str) -> None:
    engine = Watched()
    answer = await post(engine, path, "x" * (4 * CONTEXT + 1))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["param"] == ("messages" if "chat" in path else "prompt")
    assert engine.threads == []


async def test_of_token_ids_that_cannot_fit_none_is_looked_at() -> None:
    transport = httpx.ASGITransport(text_api.build(Watched(), {"echo"}, None))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        for ids, code in (([-1] * CONTEXT, "context_length_exceeded"), ([-1], "invalid_request")):
            answer = await client.post("/v1/completions", json={"model": "echo", "prompt": ids, "max_tokens": 1})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
