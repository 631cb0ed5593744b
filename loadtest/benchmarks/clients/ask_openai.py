"""What the openai package gets from one variant: `python -I ask_openai.py JSON`. Prints one line; an AssertionError or
an error of the client says what is wrong."""

import base64
import json
import math
import sys
from typing import Any

import openai

CHAT = [
    {"role": "system", "content": "You answer briefly."},
    {"role": "user", "content": "What is the capital of France?"},
]
LIMIT = 8
"""Tokens of an answer."""


def texts(client: Any, name: str) -> str:
    """Chats, whole and streamed, completions with log probabilities, responses, and an unknown variant."""
    assert name in {model.id for model in client.models.list()}, "the list of models lacks the variant"
    limits = {"model": name, "temperature": 0, "max_tokens": LIMIT}
    chat = client.chat.completions.create(messages=CHAT, n=2, **limits)
    assert [choice.index for choice in chat.choices] == [0, 1], "n=2 does not give two choices"
    for choice in chat.choices:
        assert choice.message.role == "assistant"
        assert choice.finish_reason in ("stop", "length"), choice.finish_reason
    assert 0 < chat.usage.completion_tokens <= 2 * LIMIT, chat.usage
    assert chat.usage.prompt_tokens > 0
    assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens, chat.usage
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(messages=CHAT, **streamed, **limits))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert said, "the stream has no text"
    assert len(chunks) > 2, f"{len(chunks)} chunks are no stream"
    assert len(ends) == 1, f"the stream ends {len(ends)} times"
    assert 0 < chunks[-1].usage.completion_tokens <= LIMIT, chunks[-1].usage
    whole = client.completions.create(prompt=["One, two, three,", "Once upon a time"], logprobs=1, **limits)
    assert [choice.index for choice in whole.choices] == [0, 1], "two prompts do not give two choices"
    values = [value for choice in whole.choices for value in choice.logprobs.token_logprobs]
    assert len(values) == whole.usage.completion_tokens, f"{len(values)} log probabilities, {whole.usage}"
    assert all(math.isfinite(value) and value <= 0 for value in values), values
    response = client.responses.create(model=name, input=CHAT[1]["content"], max_output_tokens=16, store=False)
    assert response.output_text, "the response has no text"
    with client.responses.stream(model=name, input=CHAT[1]["content"], max_output_tokens=16, store=False) as stream:
        events = [event.type for event in stream]
    assert events.count("response.output_text.delta") > 0, events
    assert events[-1] in ("response.completed", "response.incomplete"), events
    try:
        client.chat.completions.create(messages=CHAT, model=f"{name.partition('@')[0]}@nothing")
    except openai.NotFoundError:
        return f"2 choices, {len(chunks)} chunks, {len(values)} log probabilities, {len(events)} events of a response"
    raise AssertionError("an unknown variant is not refused with 404")


def vectors(client: Any, name: str) -> str:
    """Embeddings in both encodings, which have to be the same numbers."""
    sentences = ["oil prices rose", "crude climbed", "the orchestra played Mahler"]
    plain = client.embeddings.create(model=name, input=sentences, encoding_format="float")
    packed = client.embeddings.create(model=name, input=sentences)
    assert [entry.index for entry in plain.data] == [0, 1, 2], "three texts do not give three vectors"
    assert plain.usage.prompt_tokens > 0, plain.usage
    assert len({len(entry.embedding) for entry in plain.data + packed.data}) == 1, "the vectors differ in length"
    for one, other in zip(plain.data, packed.data, strict=True):
        assert all(math.isfinite(value) for value in one.embedding), "a vector has numbers that are not finite"
        assert any(one.embedding), "a vector is zero"
        far = max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True))
        assert far < 1e-3, f"the two encodings differ by {far}"
    return f"3 vectors of {len(plain.data[0].embedding)}, in both encodings"


def pictures(client: Any, name: str) -> str:
    """Two images as base64."""
    answer = client.images.generate(model=name, prompt="a handwritten 7", n=2, response_format="b64_json")
    files = [base64.b64decode(image.b64_json) for image in answer.data]
    assert len(files) == 2, f"{len(files)} images"
    assert all(file.startswith(b"\x89PNG") for file in files), "an image is no PNG"
    return f"2 images of {len(files[0])} and {len(files[1])} bytes"


ASK = {"text-generation": texts, "feature-extraction": vectors, "image-generation": pictures}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    server = openai.OpenAI(base_url=f"{asked['url']}/v1", api_key="none", max_retries=0)
    print(ASK[asked["task"]](server, asked["name"]))
