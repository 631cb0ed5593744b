"""OpenAI's API: `/v1/models`, `/v1/chat/completions`, `/v1/completions`, and vLLM's `/tokenize`.

`embeddings` and `images` hold the differences of `/v1/embeddings` and `/v1/images/generations`. This module checks what
the router needs (a JSON object, a model, a client), and `normalise` gives requests that ask for the same one form. The
engine checks every other field, and its answers and errors are passed on unchanged. It does not depend on Ray.
"""

import logging
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve import metrics, traces
from serve.api.access.key_limits import count_key_tokens, key_name
from serve.api.answers import TextAnswer
from serve.api.http import (
    TextHeaders,
    answer_json,
    carry,
    check_label,
    count_label,
    encode_object,
    named_in,
    read_object,
    refuse,
)
from serve.api.limits.bodies import share_of
from serve.api.limits.work import check_work
from serve.api.needs import needs_of
from serve.api.normalise import normalised
from serve.api.operation.kept_requests import KeptRequests
from serve.config.capabilities import union
from serve.dataplane.body_worker import apart, off_loop
from serve.dataplane.call import Call
from serve.dataplane.relay import Relay
from serve.dataplane.router import Target
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import openai_body
from serve.shadow.replayer import Replayer
from serve.shadow.sampling import Asked, sample
from variants.errors import InputError, PluginError, UnderstudyError, UnknownName
from variants.metrics.answer_scores import SCORES

log = logging.getLogger("understudy.api")
PLACES = {
    "text-generation": "/v1/completions",
    "feature-extraction": "/v1/embeddings",
    "image-generation": "/v1/images/generations",
}
"""The path for requests of each task; other tasks use the v2 protocol."""


class TextRoute:
    """One POST route for models of one task, as an ASGI application. `answer` observes the reply."""

    def __init__(
        self, upstreams: Upstreams, relay: Relay, replayer: Replayer, kept: KeptRequests, limit: int,
        path: str, task: str, answer: type[TextAnswer],
    ) -> None:  # fmt: skip
        self.upstreams, self.relay, self.replayer, self.body_limit = upstreams, relay, replayer, limit
        self.kept = kept
        self.path, self.task, self.answer = path, task, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived, headers = share_of(scope).arrived, TextHeaders(scope=scope)
        try:
            body, document = await read_object(scope, receive, self.body_limit)
            document = await apart(len(body), normalised, self.path, document)
            call, answer = self.prepare(headers, document, arrived)
            call.key, call.size = key_name(scope), len(body)
            task = headers.get("x-understudy-task")
            label = self.upstreams.label_of(task, headers.get("x-understudy-label"))
            call.scored_as = self.upstreams.kind_of(task)
            check_label(label, call.scored_as, task)
            asked = Asked(self.path, body, label, document, headers)
            selection = await apart(len(body), sample, self.upstreams, call, asked)
            answer.keep, answer.share = bool(selection.samples), share_of(scope)
        except UnderstudyError as error:
            await refuse(error, openai_body, scope, receive, send)
            return
        try:
            await carry(self.relay, call, answer, openai_body, scope, receive, send)
        finally:  # a client that leaves cancels this, but the engine has produced tokens
            count_tokens(call, answer)
            count_key_tokens(scope, answer)
            self.replayer.offer(selection, call, answer)
            self.kept.offer(call, asked)
        if label is not None:
            await self.score(label, task, call, answer)

    def prepare(self, headers: Headers, document: dict[str, Any], arrived: float) -> tuple[Call, TextAnswer]:
        """Check the fields that the ingress reads. Raises InputError, UnknownName."""
        target = check_model(self.upstreams, document, self.task)
        check_work(document, self.path, self.upstreams.models[target.model])
        streamed = check_type(document, "stream", bool) or False
        user = check_type(document, "user", str) or check_type(document, "safety_identifier", str)
        check_type(document, "prompt_cache_key", str)
        client = user or headers.get("x-understudy-client")
        options = check_type(document, "stream_options", dict) or {}
        asked = check_type(options, "include_usage", bool, inside="stream_options.") or False
        if streamed:
            document["stream_options"] = {**options, "include_usage": True}

        def ask(upstream: Upstream) -> tuple[str, bytes]:
            return self.path, encode_object({**document, "model": upstream.served.asked_as})

        call = Call(
            target=target,
            client=client,
            ask=ask,
            headers={"content-type": "application/json"},
            streamed=streamed,
            request_id=headers.get("x-request-id") or "",
            arrived=arrived,
            needs=needs_of(self.path, document),
            shown_as=None if Target.parse(document["model"]).model == target.model else document["model"],
        )
        return call, self.answer(call, show_usage=asked)

    async def score(self, label: str, task: str | None, call: Call, answer: TextAnswer) -> None:
        """Count a complete answer to a labelled request. Some scorers of generated answers take a tenth of a second."""
        if call.status != 200 or call.streamed or self.path == "/tokenize" or answer.dropped:
            return
        generated, size = call.scored_as in SCORES, len(answer.body)
        try:
            score = await (off_loop(answer.score, label) if generated else apart(size, answer.score, label))
        except PluginError as error:  # the client has its answer
            log.error("an answer of %s is not scored: %s", call.target.model, error)
            return
        if score is not None:
            count_label(call, task, score, self.upstreams.known_tasks)


def count_tokens(call: Call, answer: TextAnswer) -> None:
    """Count an answer's tokens and their times, also of an incomplete answer, whose tokens were produced as well."""
    if call.assignment is None:
        return
    labels = (call.assignment.model, call.assignment.variant)
    read = answer.usage.get("prompt_tokens", 0)
    traces.describe({"gen_ai.usage.input_tokens": read, "gen_ai.usage.output_tokens": answer.tokens})
    metrics.prompt_tokens.labels(*labels).inc(read)
    metrics.output_tokens.labels(*labels).inc(answer.tokens)
    if answer.first is not None and answer.last is not None:
        metrics.first_token.labels(*labels).observe(answer.first - call.arrived)
        if answer.tokens > 1:
            metrics.per_token.labels(*labels).observe((answer.last - answer.first) / (answer.tokens - 1))


def check_type(document: dict[str, Any], name: str, kind: type, inside: str = "") -> Any:
    """An optional field of the given type, None where it is absent or null. `inside` is the path of the document
    itself. Raises InputError."""
    value = document.get(name)
    if value is not None and not isinstance(value, kind):
        raise InputError(
            f"{name} is a {type(value).__name__}", field=inside + name, mend=f"send a {kind.__name__} or leave it out"
        )
    return value


def check_model(upstreams: Upstreams, document: dict[str, Any], task: str) -> Target:
    """The model that a request names. Raises InputError, UnknownName."""
    name = check_type(document, "model", str)
    if not name:
        raise InputError("no model is named", field="model", mend=f"models are {', '.join(upstreams.models)}")
    target = upstreams.resolved(Target.parse(name))
    upstreams.model(target.model)
    actual = upstreams.models[target.model].task
    if actual != task:
        raise InputError(
            f"the task of {target.model} is {actual}, not {task}",
            field="model",
            mend=f"POST to {PLACES.get(actual, f'/v2/models/{target.model}/infer')}",
        )
    return target


class Models:
    """`GET /v1/models`: each model by its routed name and its aliases, and each variant by its pinned name."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams

    async def every(self, request: Request) -> Response:
        return answer_json({"object": "list", "data": self.entries()})

    async def one(self, request: Request) -> Response:
        """Raises UnknownName, also for a build that is not served."""
        wanted = named_in(request.path_params)
        target = self.upstreams.resolved(Target.parse(wanted))
        of_model = self.upstreams.model(target.model)
        if target.build and target.variant in of_model:
            self.upstreams.check_build(of_model[target.variant], target.build)
        name = f"{target.model}@{target.variant}" if target.variant else target.model
        name = wanted if wanted in self.upstreams.aliases else name
        entry = next((entry for entry in self.entries() if entry["id"] == name), None)
        if entry is None:
            raise UnknownName(f"there is no model {wanted!r}", field="model", mend="GET /v1/models lists them")
        return answer_json(entry | {"id": wanted})

    def entries(self) -> list[dict[str, Any]]:
        entries = []
        for model, of_model in self.upstreams.by_model.items():
            created = min(int(upstream.manifest.created.timestamp()) for upstream in of_model.values())
            base = {"object": "model", "created": created, "owned_by": "understudy"}
            served = [upstream.served for upstream in of_model.values()]
            routed = union(each.capabilities for each in served if each.weight > 0).to_json()
            entries.append({"id": model, **base, "capabilities": routed})
            entries.extend(
                {"id": alias, **base, "root": model, "capabilities": routed}
                for alias in self.upstreams.models[model].aliases
            )
            entries.extend(
                {"id": each.name, **base, "parent": model, "capabilities": each.capabilities.to_json()}
                for each in served
            )
        return entries
