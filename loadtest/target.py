"""Asks the target for its models (`GET /admin/v1/models`) and for token ids (`POST /tokenize`).

It uses the standard library's HTTP client, since these few requests are not part of the load. Unknown keys in an answer
are ignored, so that a newer server is no error.
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtest.errors import LoadError
from variants.document import explain
from variants.errors import UnknownName

TIMEOUT_S = 30
Task = Literal[
    "text-generation",
    "text-classification",
    "image-classification",
    "feature-extraction",
    "object-detection",
    "image-generation",
]


class TargetResponse(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ServedVariant(TargetResponse):
    """One variant that the server has. Sizes are in bytes; `note` says where its weights come from."""

    variant: str
    weight: float
    ready: bool
    method: str
    precision: str
    parent: str | None
    engine: str
    artifact_sha256: str
    artifact_bytes: int
    memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    note: str | None = None


class ServedModel(TargetResponse):
    model: str
    task: Task
    variants: tuple[ServedVariant, ...] = Field(min_length=1)


class ServerState(TargetResponse):
    models: tuple[ServedModel, ...]
    machine: dict[str, Any]
    versions: dict[str, Any]

    def served(self, model: str, field: str) -> ServedModel:
        """The model of that name. Raises UnknownName, which names `field`."""
        for served in self.models:
            if served.model == model:
                return served
        known = ", ".join(served.model for served in self.models)
        raise UnknownName(f"the server has no model {model!r}", field=field, mend=f"it has {known}")


def read_state(target_url: str) -> ServerState:
    """The answer of `GET /admin/v1/models`. Raises LoadError if there is no valid answer."""
    answer = _ask(f"{target_url}/admin/v1/models", None)
    try:
        return ServerState.model_validate(answer)
    except ValidationError as error:
        fault = explain(error)
        raise LoadError(f"{target_url}/admin/v1/models: {fault.message}", field=fault.field) from None


def token_ids(target_url: str, model: str, text: str) -> list[int]:
    """The token ids of `text`, without special tokens, from the model's own tokenizer. Raises LoadError."""
    body = {"model": model, "prompt": text, "add_special_tokens": False}
    answer = _ask(f"{target_url}/tokenize", body)
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    if not isinstance(tokens, list) or not tokens:
        raise LoadError(f"{target_url}/tokenize gave no tokens for {text[:40]!r}")
    return tokens


def bearer() -> dict[str, str]:
    """The header with the API key in UNDERSTUDY_KEY; no header if it is not set."""
    key = os.environ.get("UNDERSTUDY_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


def _ask(url: str, body: dict[str, Any] | None) -> Any:
    if not url.startswith(("http://", "https://")):
        raise LoadError(f"{url} is not an HTTP address", mend="give one like http://127.0.0.1:8000")
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **bearer()}
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310
    # No proxy: its time would be measured as the server's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise LoadError(f"{url} answered {error.code}: {error.read(300).decode(errors='replace')}") from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{url}: {error}", mend="is the server up at that address?") from None
