"""When engines answer alike: what must not depend on the engine is equal.

That is an answer's status and shape, its choices with their ends, its counts; or an error's type, code and field.
"""

import json
from typing import Any

from tests.support.conformance import Case

SCORES = {"top_logprobs", "prompt_logprobs"}
"""Fields whose keys or entries are tokens of the engine's own."""


def compared(case: Case, status: int, body: str) -> dict[str, Any]:
    """Of an answer, what must not depend on the engine."""
    about = parts_of(status, body)
    if case.has_form and status == 200:
        about |= {"choices": len(about["choices"]), "usage": about["usage"] and about["usage"][1]}
    if b'"echo": true' in case.body and "keys" in about:  # vLLM adds them there unasked
        about["keys"] = [key for key in about["keys"] if key != "prompt_token_ids"]
    return about


def parts_of(status: int, body: str) -> dict[str, Any]:
    if body.startswith("data: "):
        return {"status": status, **stream_of(body)}
    document = json.loads(body)
    if "error" in document:
        error = document["error"]
        field = error["param"] and error["param"].split(".")[0]
        return {"status": status, "error": sorted(error), "type": error["type"], "code": error["code"], "field": field}
    about: dict[str, Any] = {"status": status, "shape": shape(document), "object": document.get("object")}
    if "choices" in document:
        about["choices"] = [(each["index"], each["finish_reason"]) for each in document["choices"]]
        about["usage"] = counts(document["usage"])
    return about


def stream_of(body: str) -> dict[str, Any]:
    """The same of a stream: all its frames taken together, by choice."""
    *frames, done = body.strip().split("\n\n")
    documents = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    ends: dict[int, list[str]] = {}
    roles: dict[int, int] = {}
    keys: set[str] = set()
    for document in documents:
        for choice in document["choices"]:
            ends.setdefault(choice["index"], []).extend(filter(None, [choice["finish_reason"]]))
            roles[choice["index"]] = roles.get(choice["index"], 0) + ("role" in choice.get("delta", {}))
            keys |= {name for name, value in choice.items() if value not in (None, [])}
        keys |= {name for name, value in document.items() if value not in (None, [])}
    last = documents[-1]
    return {
        "objects": sorted({document["object"] for document in documents}),
        "keys": sorted(keys),
        "choices": sorted((index, tuple(reasons)) for index, reasons in ends.items()),
        "roles": sorted(roles.items()),
        "usage": counts(last["usage"]) if not last["choices"] else None,
        "every": all("usage" in document for document in documents),
        "done": done,
    }


def counts(usage: dict[str, Any]) -> tuple[int, bool]:
    """The tokens of the answer, and whether the counts add up."""
    prompt, new, total = (usage[f"{name}_tokens"] for name in ("prompt", "completion", "total"))
    return new, prompt > 0 and prompt + new == total


def shape(value: Any) -> Any:
    """Fields and their types, without those that are null or empty."""
    if isinstance(value, dict):
        kept = {name: each for name, each in value.items() if each not in (None, [], {})}
        return {name: "scores" if name in SCORES else shape(each) for name, each in sorted(kept.items())}
    if isinstance(value, list):
        shapes = [shape(each) for each in value if each is not None]
        return [each for i, each in enumerate(shapes) if each not in shapes[:i]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
