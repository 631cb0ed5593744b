"""A content -> the bytes of one HTTP request: path, headers, body. The OpenAI API for text, embeddings and
drawings, v2 for pictures and articles.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

from loadtest.campaign.plan import Content, Pool


@dataclass(frozen=True)
class Ask:
    path: str
    headers: dict[str, str]
    body: bytes


def ask(pool: Pool, content: Content, variant: str | None, client: str | None) -> Ask:
    """What to send. `variant` pins; `client` keeps a virtual client on one variant (`user` for text, a
    header else).
    """
    headers = {"Accept-Encoding": "identity", "x-understudy-task": pool.task}
    if content.label is not None:
        headers["x-understudy-label"] = content.label
    if pool.kind in ("image", "boxes", "article"):
        if client is not None:
            headers["x-understudy-client"] = client
        make = _article if pool.kind == "article" else _picture
        return make(pool, content, variant, headers)
    headers["Content-Type"] = "application/json"
    body: dict[str, Any] = {"model": pool.model if variant is None else f"{pool.model}@{variant}"}
    if client is not None:
        body["user"] = client
    if pool.kind == "triplet":
        body |= {"input": content.texts, "encoding_format": "base64"}
        return Ask("/v1/embeddings", headers, json.dumps(body).encode())
    if pool.kind == "drawing":
        body |= {"prompt": content.text, "seed": content.seed, "response_format": "b64_json"}
        return Ask("/v1/images/generations", headers, json.dumps(body).encode())
    body |= {"prompt": content.text, "max_tokens": pool.max_tokens, "temperature": 0}
    if pool.kind == "label":
        body["logit_bias"] = pool.logit_bias
    else:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        if pool.ignore_eos:
            body["ignore_eos"] = True
    return Ask("/v1/completions", headers, json.dumps(body).encode())


def _picture(pool: Pool, content: Content, variant: str | None, headers: dict[str, str]) -> Ask:
    """Open Inference Protocol v2 with the binary tensor extension: one BYTES element behind its 4-byte
    length.
    """
    assert content.png is not None
    png = base64.b64decode(content.png)
    tensor = len(png).to_bytes(4, "little") + png
    outputs = ("boxes", "scores", "labels") if pool.kind == "boxes" else ("labels",)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": [1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": False}} for name in outputs],
        }
    ).encode()
    headers |= {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Ask(_infer(pool, variant), headers, head + tensor)


def _article(pool: Pool, content: Content, variant: str | None, headers: dict[str, str]) -> Ask:
    """Open Inference Protocol v2 in JSON: one text."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [content.text]}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "labels"}]}).encode()
    return Ask(_infer(pool, variant), headers | {"Content-Type": "application/json"}, body)


def _infer(pool: Pool, variant: str | None) -> str:
    pinned = "" if variant is None else f"/versions/{variant}"
    return f"/v2/models/{pool.model}{pinned}/infer"
