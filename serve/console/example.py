"""The request that somebody may send first to a model."""

import json
from typing import Any

from variants.artifacts.manifest import TaskKind


def example(url: str, name: str, task: TaskKind) -> str:
    """A request to a model, as a command. For tasks whose input is an image, it reads the model's metadata."""
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Hello"]}
    requests: dict[TaskKind, tuple[str, dict[str, Any]]] = {
        "text-generation": ("/v1/chat/completions", {"model": name, **chat}),
        "text-classification": (f"/v2/models/{name}/infer", {"inputs": [text]}),
        "feature-extraction": ("/v1/embeddings", {"model": name, "input": "Hello"}),
        "image-generation": ("/v1/images/generations", {"model": name, "prompt": "a handwritten 7", "seed": 1}),
    }
    if task not in requests:
        return f"curl -s {url}/v2/models/{name}"
    path, body = requests[task]
    return f"curl -s {url}{path} -H 'content-type: application/json' -d '{json.dumps(body)}'"
