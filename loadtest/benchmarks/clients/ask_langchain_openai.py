"""What langchain-openai gets from one variant: `python -I ask_langchain_openai.py JSON`. Prints one line; an
AssertionError or an error of the client says what is wrong."""

import json
import math
import sys
from typing import Any

from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

QUESTION = "What is the capital of France?"
LIMIT = 8
"""Tokens of an answer."""


def texts(server: dict[str, Any], name: str) -> str:
    """Chats, whole, streamed, in a batch and through the Responses API, and completions."""
    chat = ChatOpenAI(model=name, temperature=0, max_tokens=LIMIT, stream_usage=True, **server)
    whole = chat.invoke([("system", "You answer briefly."), ("human", QUESTION)])
    assert whole.content, "the chat has no text"
    assert 0 < whole.usage_metadata["output_tokens"] <= LIMIT, whole.usage_metadata
    assert whole.response_metadata["finish_reason"] in ("stop", "length"), whole.response_metadata
    chunks = list(chat.stream(QUESTION))
    assert "".join(chunk.content for chunk in chunks), "the stream has no text"
    assert len(chunks) > 2, f"{len(chunks)} chunks are no stream"
    usages = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert sum(usage["output_tokens"] for usage in usages) <= LIMIT, usages
    assert usages, "the stream has no usage"
    batch = chat.batch([QUESTION, "Count to three."])
    assert len(batch) == 2, f"{len(batch)} answers to two chats"
    assert all(answer.content for answer in batch), "an answer of the batch is empty"
    response = ChatOpenAI(model=name, max_tokens=16, use_responses_api=True, store=False, **server).invoke(QUESTION)
    assert response.text, "the response has no text"
    completion = OpenAI(model=name, temperature=0, max_tokens=LIMIT, **server)
    generated = completion.generate(["One, two, three,", "Once upon a time"])
    assert len(generated.generations) == 2, f"{len(generated.generations)} completions of two prompts"
    assert all(each[0].text for each in generated.generations), "a completion is empty"
    pieces = list(completion.stream("One, two, three,"))
    assert len(pieces) > 1, f"{len(pieces)} chunks are no stream"
    return f"{len(chunks)} and {len(pieces)} chunks, a batch of {len(batch)}, 2 completions, a response"


def vectors(server: dict[str, Any], name: str) -> str:
    """Embeddings of documents and of a query. Texts are sent as they are: the default splits them by a tokenizer of
    OpenAI, which has to be downloaded."""
    embeddings = OpenAIEmbeddings(model=name, check_embedding_ctx_length=False, **server)
    rows = embeddings.embed_documents(["oil prices rose", "the orchestra played Mahler"])
    query = embeddings.embed_query("oil prices rose")
    assert len(rows) == 2, f"{len(rows)} vectors of two texts"
    assert len({len(row) for row in [*rows, query]}) == 1, "the vectors differ in length"
    assert all(math.isfinite(value) for row in rows for value in row), "a vector has numbers that are not finite"
    near, far = (sum(a * b for a, b in zip(query, row, strict=True)) for row in rows)
    assert near > far, f"a text is nearer to another one ({far}) than to itself ({near})"
    return f"2 vectors of {len(query)}"


ASK = {"text-generation": texts, "feature-extraction": vectors}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    server = {"base_url": f"{asked['url']}/v1", "api_key": "none", "max_retries": 0}
    print(ASK[asked["task"]](server, asked["name"]))
