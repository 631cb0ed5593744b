"""Open Inference Protocol v2 over REST: `/v2`, `/v2/health/{live,ready}`, `/v2/models/{model}[/versions/{variant}]` and
its `/ready` and `/infer`. A variant is a version of its model.

The engine checks the tensors, because it knows their shapes; this module checks the model. It does not depend on Ray.
"""

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.api.access.key_limits import key_name
from serve.api.answers import TensorAnswer
from serve.api.http import (
    TextHeaders,
    answer_json,
    answer_readiness,
    carry,
    check_label,
    count_label,
    named_in,
    read_body,
    refuse,
)
from serve.api.limits.bodies import share_of
from serve.api.limits.structure import TENSORS, Structure, check_structure
from serve.api.limits.work import check_tensors
from serve.api.operation.kept_requests import KeptRequests
from serve.dataplane.body_worker import apart
from serve.dataplane.call import Call
from serve.dataplane.relay import Relay
from serve.dataplane.router import Target
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import NotReady, headers_of, open_inference_body, status_of
from serve.protocols.open_inference import HEADER_LENGTH, head_length
from serve.shadow.replayer import Replayer
from serve.shadow.sampling import Asked, sample
from variants.errors import InputError, UnderstudyError, UnknownName
from variants.machine import versions
from variants.vision.boxes import Box, from_text

SERVER = {"name": "understudy", "version": versions(["understudy"])["understudy"], "extensions": ["binary_tensor_data"]}
PASSED_IN = ("content-type", HEADER_LENGTH)


def target_of(params: Mapping[str, str]) -> Target:
    """The model of the path. A version pins, as `model@variant` does. Raises InputError where the two differ."""
    target = Target.parse(named_in(params))
    version = params.get("variant", target.variant)
    if target.variant not in (None, version):
        raise InputError(
            f"the model names variant {target.variant!r}, the version {version!r}", field="version", mend="name one"
        )
    return Target(target.model, version, target.build)


def head_of(body: bytes, header_length: str | None, structure: Structure) -> bytes:
    """The JSON part of a request, its structure checked before anybody parses it, where `structure` has not been while
    it was inflated. Raises InputError."""
    head = body[: head_length(body, header_length)]
    check_structure(head, structure)
    return head


class InferRoute:
    """`POST .../infer`."""

    def __init__(
        self, upstreams: Upstreams, relay: Relay, replayer: Replayer, kept: KeptRequests, body_limit: int
    ) -> None:
        self.upstreams, self.relay, self.replayer, self.body_limit = upstreams, relay, replayer, body_limit
        self.kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived, headers = share_of(scope).arrived, TextHeaders(scope=scope)
        try:
            structure, in_head = Structure(TENSORS), HEADER_LENGTH in headers
            body = await read_body(scope, receive, self.body_limit, None if in_head else structure)
            head = await apart(len(body), head_of, body, headers.get(HEADER_LENGTH), structure)
            call = self.prepare(self.upstreams.resolved(target_of(scope["path_params"])), headers, body, arrived)
            call.key = key_name(scope)
            await apart(len(head), check_tensors, head, self.upstreams.models[call.target.model])
            label = self.label_of(headers, call.target)
            asked = Asked("/infer", body, label, headers=headers)
            selection = await apart(len(body), sample, self.upstreams, call, asked)
        except UnderstudyError as error:
            await refuse(error, open_inference_body, scope, receive, send)
            return
        answer = TensorAnswer(keep=label is not None or bool(selection.samples), share=share_of(scope))
        try:
            await carry(self.relay, call, answer, open_inference_body, scope, receive, send)
        finally:  # a client that leaves cancels this
            self.replayer.offer(selection, call, answer)
            self.kept.offer(call, asked)
        if label is None or call.status != 200 or answer.dropped:
            return
        if (outcome := await apart(len(answer.body), answer.outcome, label)) is not None:
            count_label(call, headers.get("x-understudy-task"), outcome, self.upstreams.known_tasks)

    def label_of(self, headers: Headers, target: Target) -> str | list[Box] | None:
        """The right answer, where the request carries it: a label, or boxes for a detector. Raises InputError for
        invalid boxes, and for the score of a pair."""
        task = headers.get("x-understudy-task")
        text = self.upstreams.label_of(task, headers.get("x-understudy-label"))
        check_label(text, self.upstreams.kind_of(task), task)
        if text is None or self.upstreams.models[target.model].task != "object-detection":
            return text
        try:
            return from_text(text)
        except ValueError as error:
            mend = '[{"label": "7", "box": [left, top, right, bottom]}], one line of JSON, pixels of the image'
            raise InputError(str(error), field="x-understudy-label", mend=mend) from None

    def prepare(self, target: Target, headers: Headers, body: bytes, arrived: float) -> Call:
        """Check the model. Raises InputError, UnknownName."""
        self.upstreams.model(target.model)
        if self.upstreams.models[target.model].task == "text-generation":
            raise InputError(f"{target.model} generates text", field="model", mend="POST to /v1/completions")
        if self.upstreams.models[target.model].task == "image-generation":
            raise InputError(f"{target.model} generates images", field="model", mend="POST to /v1/images/generations")

        def ask(upstream: Upstream) -> tuple[str, bytes]:
            return f"/v2/models/{upstream.served.asked_as}/infer", body

        return Call(
            target=target,
            client=headers.get("x-understudy-client"),
            ask=ask,
            headers={name: value for name in PASSED_IN if (value := headers.get(name)) is not None},
            streamed=False,
            request_id=headers.get("x-request-id") or "",
            arrived=arrived,
            size=len(body),
        )


class Metadata:
    """Endpoints that describe the server and its models."""

    def __init__(self, upstreams: Upstreams, relay: Relay) -> None:
        self.upstreams, self.relay = upstreams, relay

    async def model(self, request: Request) -> Response:
        """`GET /v2/models/{model}[/versions/{variant}]`: the engine's metadata under the name that the client used."""
        asked = target_of(request.path_params)
        target = self.upstreams.resolved(asked)
        upstream, _ = self.upstreams.place(target, None, set())
        document = {"name": asked.model, "versions": list(self.upstreams.by_model[target.model])}
        if self.upstreams.models[target.model].task == "text-generation":
            # Text engines use OpenAI's protocol: they have no tensors to describe.
            return answer_json(
                {**document, "platform": upstream.served.engine.settings.kind, "inputs": [], "outputs": []}
            )
        described = await self.relay.fetch(upstream, f"/v2/models/{upstream.served.asked_as}")
        return answer_json({**described, **document})

    async def model_ready(self, request: Request) -> Response:
        """`GET /v2/models/{model}[/versions/{variant}]/ready`: 200 when an engine can answer, else 503 and the reason.
        Raises UnknownName."""
        target = target_of(request.path_params)
        resolved = self.upstreams.resolved(target)
        of_model = self.upstreams.model(resolved.model)
        down = {variant: upstream.down.says for variant, upstream in of_model.items() if upstream.down}
        try:
            self.upstreams.drain.check_not_begun()
            self.upstreams.place(resolved, None, set())
        except NotReady as error:
            body = {"name": target.model, "ready": False, "down": down, "error": str(error), "code": error.code}
            return answer_json(body, status_of(error), headers_of(error))
        return answer_json({"name": target.model, "ready": True, "down": down})

    async def server(self, request: Request) -> Response:
        """`GET /v2`."""
        return answer_json(SERVER)

    async def health(self, request: Request) -> Response:
        """`GET /v2/health/{live,ready}`. Raises UnknownName."""
        match request.path_params["probe"]:
            case "live":
                return answer_json({"live": True})
            case "ready":
                return answer_readiness(self.upstreams.readiness(), self.upstreams.ready)
            case probe:
                raise UnknownName(f"there is no probe {probe!r}", mend="probes are live and ready")
