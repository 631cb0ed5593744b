"""Steers a running server from Python: `Client().change_traffic("smollm2", weights={"int8": 10})`."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import quote

from serve.client.admin import ask, ask_text

WATCH_S = 1.0
HERE = "http://127.0.0.1:8000"
Answer = dict[str, Any]
"""A server's answer as JSON has it: see `/openapi.json` of the server."""


class Client:
    """The admin routes of the server at `url`. Its key is the one in UNDERSTUDY_KEY, if that is set.

    Every method raises the server's own error (`variants.errors`, `serve.errors`), and EngineError where no server
    answers."""

    def __init__(self, url: str = HERE) -> None:
        self.url = url

    def models(self) -> Answer:
        """All models and variants, with what each is, costs and answers."""
        return ask(self.url, "GET", "/admin/v1/models")

    def metrics(self) -> str:
        """The server's metrics in Prometheus' text format; `serve.client.fleet` reads them."""
        return ask_text(self.url, "GET", "/metrics")

    def traffic(self, model: str) -> Answer:
        """The model's traffic, its version, and the share of each variant."""
        return self._ask("GET", model, "traffic")

    def change_traffic(
        self,
        model: str,
        *,
        weights: Mapping[str, float] | None = None,
        shadows: Mapping[str, float] | None = None,
        pins: Mapping[str, str] | None = None,
        sticky: bool | None = None,
        why: str = "",
    ) -> Answer:
        """Change parts of a model's traffic and keep the rest. `shadows` are shares of requests to compare, by variant;
        0 stops it. `pins` are variants by client; "" removes one. `why` is for the journal.

        Raises Stale where it was changed in the meantime, Conflict where a rollout changes it."""
        current = self.traffic(model)
        traffic = dict(current["traffic"])
        for name, change in (("weights", weights), ("shadows", shadows), ("pins", pins)):
            traffic[name] = {**traffic[name], **(change or {})}
        if sticky is not None:
            traffic["sticky"] = sticky
        for name in ("pins", "shadows"):
            traffic[name] = {key: value for key, value in traffic[name].items() if value not in ("", 0)}
        headers = {"if-match": f'"{current["version"]}"'}
        return self._ask("PUT", model, "traffic", {**traffic, "why": why}, headers)

    def rollout(self, model: str) -> Answer:
        """The model's latest rollout and its evidence; `rollout` is None where there was none."""
        return self._ask("GET", model, "rollout")

    def rollouts(self, model: str) -> Answer:
        """Every rollout of the model, the latest first, each with its id, status and reason."""
        return self._ask("GET", model, "rollouts")

    def rollout_document(self, model: str, name: str) -> Answer:
        """The rollout with that id: its plan, decisions, evidence over time and verdict. Raises UnknownName."""
        return self._ask("GET", model, f"rollouts/{quote(name, safe='')}")

    def pairs(self, model: str, variant: str, limit: int = 100) -> Answer:
        """Kept pairs of a variant and its parent whose answers differ, those without an opinion first. Raises
        InputError where the stack file does not keep answers of this model."""
        return self._ask("GET", model, f"pairs?variant={quote(variant, safe='')}&limit={limit}")

    def give_opinion(self, opinion: Mapping[str, Any]) -> Answer:
        """Say of a pair which answer is better (`serve.api.pairs.Opinion`):

        {"request_id": "0123456789abcdef", "variant": "int8", "outcome": 1}"""
        return ask(self.url, "POST", "/v1/feedback", dict(opinion))

    def start_rollout(self, model: str, plan: Mapping[str, Any]) -> Answer:
        """Begin a rollout by a plan, or a search for the cheapest variant (`serve.control.rollout`):

        {"variant": "int8", "steps": ["shadow", 10, 50, 100], "gate": {"quality": 0.02}}"""
        return self._ask("POST", model, "rollout", dict(plan))

    def steer_rollout(self, model: str, action: Literal["pause", "resume", "abort"]) -> Answer:
        """Pause, resume or end the running rollout. Raises Conflict where none runs."""
        return self._ask("POST", model, f"rollout/{action}", {})

    def watch_rollout(self, model: str, limit_s: float | None = None) -> Iterator[Answer]:
        """The state of the rollout, once a second until it has ended or the time limit has passed. A search continues
        while its queue has variants."""
        end = math.inf if limit_s is None else time.monotonic() + limit_s
        while True:
            answer = self.rollout(model)
            yield answer
            left = end - time.monotonic()
            if not is_unfinished(answer["rollout"]) or left <= 0:
                return
            time.sleep(min(WATCH_S, left))

    def _ask(
        self,
        method: str,
        model: str,
        what: str,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return ask(self.url, method, f"/admin/v1/models/{model}/{what}", body, headers)


def is_unfinished(rollout: Answer | None) -> bool:
    """Whether a rollout, or the search that it is part of, still goes on."""
    if rollout is None:
        return False
    return rollout["status"] in (("running", "paused", "rolled back") if rollout["queue"] else ("running", "paused"))
