"""How a model's traffic is steered while requests flow, in the shape of OpenAI's errors.

GET   /admin/v1/models/{model}/traffic             what is in force; its version stands in `etag`
PUT   /admin/v1/models/{model}/traffic             `If-Match: "version"`, or `*` whatever is in force
GET   /admin/v1/models/{model}/rollout             the latest rollout, with the verdict as of now
POST  /admin/v1/models/{model}/rollout             begin one
POST  /admin/v1/models/{model}/rollout/{action}    pause, resume, abort
GET   /admin/v1/journal?last=100                   what was decided and counted
POST  /v1/feedback                                 a score for an answer, by the id it carried
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from serve import metrics
from serve.api.http import header, parse_object, read_body, refuse, send_json
from serve.control.contract import Conducting
from serve.errors import NotReady, openai_body
from variants.errors import InputError, UnderstudyError

WHO = "x-understudy-who"
Act = Callable[[Conducting, Scope, dict[str, Any]], Awaitable[dict[str, Any]]]


class SteeringRoute:
    """One path: `acts` by HTTP method. What they raise is answered in OpenAI's shape."""

    def __init__(self, conductor: Conducting, body_limit: int, **acts: Act) -> None:
        self.conductor, self.body_limit, self.acts = conductor, body_limit, acts

    @property
    def methods(self) -> list[str]:
        return list(self.acts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            body = await read_body(scope, receive, self.body_limit) if method in ("POST", "PUT") else b""
            found = await self.acts[method](self.conductor, scope, parse_object(body or b"{}"))
            headers = {"etag": f'"{found["version"]}"'} if "version" in found else {}
            await send_json(send, 200, json.dumps(found).encode(), headers)
        except UnderstudyError as error:
            await refuse(send, error, openai_body)
        except Exception as error:  # whatever Ray raises for a replica that is starting or gone
            fault = NotReady(f"the conductor is away: {error}", mend="try again shortly")
            await refuse(send, fault, openai_body)


def who(scope: Scope) -> str:
    return header(scope, WHO) or "unnamed"


def model_of(scope: Scope) -> str:
    return str(scope["path_params"]["model"])


async def read_traffic(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    return await conductor.traffic(model_of(scope))


async def put_traffic(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    why = body.pop("why", "")
    if not isinstance(why, str):
        raise InputError("is no text", field="why", mend="say why in words, or leave it out")
    return await conductor.set_traffic(model_of(scope), body, if_match(scope), who(scope), why)


def if_match(scope: Scope) -> int | None:
    """The version that the writer has seen; None for any. Raises InputError."""
    found = header(scope, "if-match")
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


async def read_rollout(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    return await conductor.rollout(model_of(scope))


async def begin_rollout(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    return await conductor.begin_rollout(model_of(scope), body, who(scope))


async def steer_rollout(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    action = str(scope["path_params"]["action"])
    return await conductor.steer_rollout(model_of(scope), action, who(scope))


async def read_journal(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    found = parse_qs(scope["query_string"].decode("latin-1")).get("last", ["100"])[0]
    if not found.isdecimal() or len(found) > 5 or not 0 < int(found) <= 10_000:
        raise InputError(f"{found!r:.80} is no number of entries", field="last", mend="1 to 10000")
    return {"entries": await conductor.journal(int(found))}


async def give_feedback(conductor: Conducting, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
    found = await conductor.add_feedback(body)
    if found["counted"]:
        metrics.feedback.labels(found["model"], found["variant"]).inc()
    return found


def steering_routes(conductor: Conducting, limit: int) -> dict[str, SteeringRoute]:
    """Every path of this page."""
    model = "/admin/v1/models/{model}"
    return {
        f"{model}/traffic": SteeringRoute(conductor, limit, GET=read_traffic, PUT=put_traffic),
        f"{model}/rollout": SteeringRoute(conductor, limit, GET=read_rollout, POST=begin_rollout),
        f"{model}/rollout/{{action}}": SteeringRoute(conductor, limit, POST=steer_rollout),
        "/admin/v1/journal": SteeringRoute(conductor, limit, GET=read_journal),
        "/v1/feedback": SteeringRoute(conductor, limit, POST=give_feedback),
    }
