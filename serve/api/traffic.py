"""Routes that read and change a model's traffic and rollout. Errors have OpenAI's format.

GET   /admin/v1/models/{model}/traffic             the current traffic; `etag` holds its version
PUT   /admin/v1/models/{model}/traffic             `If-Match: "version"`, or `*` to overwrite any version
GET   /admin/v1/models/{model}/rollout             the latest rollout, with its current verdict
POST  /admin/v1/models/{model}/rollout             begin a rollout
POST  /admin/v1/models/{model}/rollout/{action}    pause, resume, abort; `{"why": text}` for the journal
GET   /admin/v1/models/{model}/rollouts            every rollout, the latest first
GET   /admin/v1/models/{model}/rollouts/{id}       one of them as a document
GET   /admin/v1/journal?last=100                   the latest decisions and counts
GET   /admin/v1/models/{model}/pairs               kept pairs whose answers differ (`serve.api.pairs`)
POST  /v1/feedback                                 a score for an answer, by its id, or an opinion on a pair
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serve import metrics
from serve.api.access.key_limits import key_name
from serve.api.http import TextHeaders, answer_json, parse_object, read_body
from serve.api.pairs import Pairs
from serve.control.contract import ControllerClient
from serve.dataplane.body_worker import apart, off_loop
from variants.errors import InputError

WHO, CLIENT = "x-understudy-who", "x-understudy-client"
VERSION = re.compile(r'"?[0-9]{1,9}"?')
"""An etag of GET; many programs send it without its quotes."""
Act = Callable[[ControllerClient, Request, dict[str, Any]], Awaitable[dict[str, Any]]]


class Endpoint:
    """One path; `acts` are its functions by HTTP method."""

    def __init__(self, controller: ControllerClient, body_limit: int, **acts: Act) -> None:
        self.controller, self.body_limit, self.acts = controller, body_limit, acts

    @property
    def methods(self) -> list[str]:
        return list(self.acts)

    async def answer(self, request: Request) -> Response:
        """Raises the errors of the controller."""
        method = "GET" if request.method == "HEAD" else request.method
        body = b"{}"
        if method in ("POST", "PUT"):
            body = await read_body(request.scope, request.receive, self.body_limit) or body
        asked = await apart(len(body), parse_object, body)
        document = await self.acts[method](self.controller, request, asked)
        headers = {"etag": f'"{document["version"]}"'} if "version" in document else {}
        if method == "GET":  # a thousand pairs or a whole journal
            return await off_loop(answer_json, document, headers=headers)
        return answer_json(document, headers=headers)


def who(request: Request) -> str:
    return TextHeaders(scope=request.scope).get(WHO) or "unnamed"


def model_of(request: Request) -> str:
    return str(request.path_params["model"])


async def read_traffic(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await controller.traffic(model_of(request))


async def put_traffic(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    why = why_of(body)
    return await controller.set_traffic(model_of(request), body, if_match(request), who(request), why)


def why_of(body: dict[str, Any]) -> str:
    """The reason of a change, for the journal. Takes it out of the body. Raises InputError."""
    why = body.pop("why", "")
    if not isinstance(why, str):
        raise InputError("is not text", field="why", mend="send a string, or leave it out")
    return why


def if_match(request: Request) -> int | None:
    """The version that the client has read; None for `*`. Raises InputError."""
    tag = request.headers.get("if-match")
    if tag == "*":
        return None
    if tag is None or not VERSION.fullmatch(tag):
        raise InputError(
            "is missing" if tag is None else f"{tag!r:.80} is not a version",
            field="If-Match",
            mend='send the etag of GET, or "*" to overwrite any version',
        )
    return int(tag.strip('"'))


async def read_rollout(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await controller.rollout(model_of(request))


async def list_rollouts(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await controller.rollouts(model_of(request))


async def read_rollout_document(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await controller.rollout_document(model_of(request), str(request.path_params["id"]))


async def begin_rollout(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await controller.begin_rollout(model_of(request), body, who(request))


async def steer_rollout(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    action = str(request.path_params["action"])
    return await controller.steer_rollout(model_of(request), action, who(request), why_of(body))


async def read_journal(controller: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    last = request.query_params.get("last", "100")
    if not last.isdecimal() or len(last) > 5 or not 0 < int(last) <= 10_000:
        raise InputError(f"{last!r:.80} is not a valid number of entries", field="last", mend="1 to 10000")
    return {"entries": await controller.journal(int(last))}


async def read_pairs(
    pairs: Pairs, controller: ControllerClient, request: Request, body: dict[str, Any]
) -> dict[str, Any]:
    return await pairs.read(request)


async def give_feedback(
    pairs: Pairs, controller: ControllerClient, request: Request, body: dict[str, Any]
) -> dict[str, Any]:
    if not {"label", "outcome"}.isdisjoint(body):
        return await pairs.judge(body, key_name(request.scope), controller)
    client = TextHeaders(scope=request.scope).get(CLIENT)
    receipt = await controller.add_feedback(body, key_name(request.scope), client)
    if receipt["counted"]:
        metrics.feedback.labels(receipt["model"], receipt["variant"]).inc()
    return receipt


def traffic_endpoints(controller: ControllerClient, pairs: Pairs, limit: int) -> dict[str, Endpoint]:
    """All endpoints of this module, by path."""
    model = "/admin/v1/models/{model}"
    return {
        f"{model}/traffic": Endpoint(controller, limit, GET=read_traffic, PUT=put_traffic),
        f"{model}/rollout": Endpoint(controller, limit, GET=read_rollout, POST=begin_rollout),
        f"{model}/rollout/{{action}}": Endpoint(controller, limit, POST=steer_rollout),
        f"{model}/rollouts": Endpoint(controller, limit, GET=list_rollouts),
        f"{model}/rollouts/{{id}}": Endpoint(controller, limit, GET=read_rollout_document),
        f"{model}/pairs": Endpoint(controller, limit, GET=partial(read_pairs, pairs)),
        "/admin/v1/journal": Endpoint(controller, limit, GET=read_journal),
        "/v1/feedback": Endpoint(controller, limit, POST=partial(give_feedback, pairs)),
    }
