"""What litellm gets from one variant: `python -I ask_litellm.py JSON`. Prints one line; an AssertionError or an error
of the client says what is wrong."""

import json
import math
import sys
from typing import Any

import litellm

CHAT = [{"role": "user", "content": "What is the capital of France?"}]
LIMIT = 8
"""Tokens of an answer."""


def texts(server: dict[str, Any], name: str) -> str:
    """Chats, whole and streamed, completions, and an unknown variant."""
    limits = {"temperature": 0, "max_tokens": LIMIT, **server}
    whole = litellm.completion(model=f"openai/{name}", messages=CHAT, **limits)
    assert len(whole.choices) == 1, f"{len(whole.choices)} choices"
    assert whole.choices[0].message.content, "the chat has no text"
    assert whole.choices[0].finish_reason in ("stop", "length"), whole.choices[0].finish_reason
    assert 0 < whole.usage.completion_tokens <= LIMIT, whole.usage
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(model=f"openai/{name}", messages=CHAT, **streamed, **limits))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said, "the stream has no text"
    assert len(chunks) > 2, f"{len(chunks)} chunks are no stream"
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert 0 < usages[-1].completion_tokens <= LIMIT, usages
    completion = litellm.text_completion(model=f"text-completion-openai/{name}", prompt="One, two, three,", **limits)
    assert completion.choices[0].text, "the completion is empty"
    try:
        litellm.completion(model=f"openai/{name.partition('@')[0]}@nothing", messages=CHAT, **server)
    except litellm.NotFoundError:
        return f"a chat of {whole.usage.completion_tokens} tokens, {len(chunks)} chunks, a completion"
    raise AssertionError("an unknown variant is not refused with 404")


def vectors(server: dict[str, Any], name: str) -> str:
    """Embeddings."""
    answer = litellm.embedding(model=f"openai/{name}", input=["oil prices rose", "the orchestra played"], **server)
    rows = [entry["embedding"] for entry in answer.data]
    assert len(rows) == 2, f"{len(rows)} vectors of two texts"
    assert len({len(row) for row in rows}) == 1, "the vectors differ in length"
    assert all(math.isfinite(value) for row in rows for value in row), "a vector has numbers that are not finite"
    assert answer.usage.prompt_tokens > 0, answer.usage
    return f"2 vectors of {len(rows[0])}"


ASK = {"text-generation": texts, "feature-extraction": vectors}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    server = {"api_base": f"{asked['url']}/v1", "api_key": "none", "max_retries": 0}
    print(ASK[asked["task"]](server, asked["name"]))
