"""How a model's traffic is steered while requests flow, in the shape of OpenAI's errors.

GET   /admin/v1/models/{model}/traffic             what is in force; its version stands in `etag`
PUT   /admin/v1/models/{model}/traffic             `If-Match: "version"`, or `*` whatever is in force
GET   /admin/v1/models/{model}/rollout             the latest rollout, with the verdict as of now
POST  /admin/v1/models/{model}/rollout             begin one
POST  /admin/v1/models/{model}/rollout/{action}    pause, resume, abort
GET   /admin/v1/journal?last=100                   what was decided and counted
POST  /v1/feedback                                 a score for an answer, by the id it carried
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serve import metrics
from serve.api.http import answer_json, parse_object, read_body
from serve.control.contract import ControllerClient
from variants.errors import InputError

WHO = "x-understudy-who"
Act = Callable[[ControllerClient, Request, dict[str, Any]], Awaitable[dict[str, Any]]]


class Endpoint:
    """One path: `acts` by HTTP method."""

    def __init__(self, conductor: ControllerClient, body_limit: int, **acts: Act) -> None:
        self.conductor, self.body_limit, self.acts = conductor, body_limit, acts

    @property
    def methods(self) -> list[str]:
        return list(self.acts)

    async def answer(self, request: Request) -> Response:
        """Raises what the controller raises."""
        method = "GET" if request.method == "HEAD" else request.method
        body = b"{}"
        if method in ("POST", "PUT"):
            body = await read_body(request.scope, request.receive, self.body_limit) or body
        document = await self.acts[method](self.conductor, request, parse_object(body))
        headers = {"etag": f'"{document["version"]}"'} if "version" in document else {}
        return answer_json(document, headers=headers)


def who(request: Request) -> str:
    return request.headers.get(WHO) or "unnamed"


def model_of(request: Request) -> str:
    return str(request.path_params["model"])


async def read_traffic(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await conductor.traffic(model_of(request))


async def put_traffic(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    why = body.pop("why", "")
    if not isinstance(why, str):
        raise InputError("is no text", field="why", mend="say why in words, or leave it out")
    return await conductor.set_traffic(model_of(request), body, if_match(request), who(request), why)


def if_match(request: Request) -> int | None:
    """The version that the writer has seen; None for any. Raises InputError."""
    found = request.headers.get("if-match")
    if found == "*":
        return None
    try:
        return int((found or "").strip('"'))
    except ValueError:
        raise InputError(
            "no version is given" if found is None else f"{found!r} is no version",
            field="If-Match",
            mend='send the etag of GET, or "*" to overwrite whatever is in force',
        ) from None


async def read_rollout(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await conductor.rollout(model_of(request))


async def begin_rollout(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    return await conductor.begin_rollout(model_of(request), body, who(request))


async def steer_rollout(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    action = str(request.path_params["action"])
    return await conductor.steer_rollout(model_of(request), action, who(request))


async def read_journal(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    found = request.query_params.get("last", "100")
    if not found.isdecimal() or len(found) > 5 or not 0 < int(found) <= 10_000:
        raise InputError(f"{found!r:.80} is no number of entries", field="last", mend="1 to 10000")
    return {"entries": await conductor.journal(int(found))}


async def give_feedback(conductor: ControllerClient, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    found = await conductor.add_feedback(body)
    if found["counted"]:
        metrics.feedback.labels(found["model"], found["variant"]).inc()
    return found


def traffic_endpoints(conductor: ControllerClient, limit: int) -> dict[str, Endpoint]:
    """Every path of this page."""
    model = "/admin/v1/models/{model}"
    return {
        f"{model}/traffic": Endpoint(conductor, limit, GET=read_traffic, PUT=put_traffic),
        f"{model}/rollout": Endpoint(conductor, limit, GET=read_rollout, POST=begin_rollout),
        f"{model}/rollout/{{action}}": Endpoint(conductor, limit, POST=steer_rollout),
        "/admin/v1/journal": Endpoint(conductor, limit, GET=read_journal),
        "/v1/feedback": Endpoint(conductor, limit, POST=give_feedback),
    }
