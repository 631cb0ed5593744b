"""Open Inference Protocol v2 over REST: `/v2`, `/v2/health/{live,ready}`, `/v2/models/{model}[/versions/{variant}]` and
its `/ready` and `/infer`. A variant is a version of its model.

Tensors are checked by the engine, which knows their shapes; the door checks who is asked. Knows nothing of Ray.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from serve import metrics
from serve.api.http import carry, count_label, header, read_body, refuse, send_json
from serve.dataplane.call import Call, Reply
from serve.dataplane.relay import Relay
from serve.dataplane.router import Target
from serve.dataplane.upstream import Seat
from serve.dataplane.upstreams import Fleet
from serve.errors import open_inference_body, status_of
from serve.protocols.open_inference import HEADER_LENGTH, parse_response
from serve.shadow.replay import Shadows
from serve.shadow.sampling import choose
from variants.errors import InputError, UnderstudyError, UnknownName
from variants.machine import versions
from variants.metrics.scoring import label_matches
from variants.vision.boxes import Box, agreement, from_tensors, from_text

SERVER = {"name": "understudy", "version": versions(["understudy"])["understudy"], "extensions": ["binary_tensor_data"]}
PASSED_IN = ("content-type", HEADER_LENGTH)


class TensorAnswer:
    """Copies tensors on, and keeps them where they have to be scored."""

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.body = bytearray()
        self.header_length: str | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        self.header_length = headers.get(HEADER_LENGTH)

    def chunk(self, data: bytes, now: float) -> bytes:
        if self.keep:
            self.body += data
        return data

    def end(self) -> bytes:
        return b""

    def answered(self) -> tuple[str, int]:
        return "", 0

    def again(self, reply: Reply) -> "TensorAnswer":
        other = TensorAnswer(keep=True)
        other.body, other.header_length = bytearray(reply.body), reply.header_length
        return other

    def reply(self) -> Reply:
        return Reply(bytes(self.body), self.header_length)

    def label(self) -> str | None:
        """The first label of the answer; None where the client did not ask for labels."""
        outputs = parse_response(bytes(self.body), self.header_length)
        return outputs["labels"].ravel()[0].decode() if "labels" in outputs else None

    def boxes(self) -> list[Box] | None:
        """The boxes of a detector's answer; None where the client did not ask for all that makes them."""
        outputs = parse_response(bytes(self.body), self.header_length)
        if not {"boxes", "scores", "labels"} <= outputs.keys():
            return None
        return from_tensors(outputs["boxes"].tolist(), outputs["scores"].tolist(), outputs["labels"].tolist())

    def outcome(self, label: str | list[Box]) -> float | None:
        """How right the answer is, 0 to 1; None where it does not hold what is scored."""
        if isinstance(label, str):
            found = self.label()
            return None if found is None else float(label_matches(found, label))
        boxes = self.boxes()
        return None if boxes is None else agreement(boxes, label)


def target_of(scope: Scope) -> Target:
    """The model of the path; a version pins, as `model@variant` does. Raises InputError where both do, and differ."""
    params = scope["path_params"]
    target = Target.parse(params["model"])
    version = params.get("variant", target.variant)
    if target.variant not in (None, version):
        raise InputError(
            f"the model names variant {target.variant!r}, the version {version!r}", field="version", mend="name one"
        )
    return Target(target.model, version, target.build)


class InferRoute:
    """`POST .../infer`."""

    def __init__(self, fleet: Fleet, relay: Relay, shadows: Shadows, body_limit: int) -> None:
        self.fleet, self.relay, self.shadows, self.body_limit = fleet, relay, shadows, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = time.perf_counter()
        try:
            body = await read_body(scope, receive, self.body_limit)
            call = self.prepare(scope, body, arrived)
            label = self.label_of(scope, call.target)
            chosen = choose(self.fleet, scope, call.target, "/infer", body, label)
        except UnderstudyError as error:
            metrics.errors.labels(str(status_of(error))).inc()
            await refuse(send, error, open_inference_body)
            return
        answer = TensorAnswer(keep=label is not None or bool(chosen))
        await carry(self.relay, call, answer, receive, send, open_inference_body)
        if label is not None and call.status == 200 and (outcome := answer.outcome(label)) is not None:
            count_label(call, header(scope, "x-understudy-task"), outcome)
        self.shadows.offer(chosen, call, answer)

    def label_of(self, scope: Scope, target: Target) -> str | list[Box] | None:
        """What is right, where the request carries it: a label, or for a detector boxes. Raises InputError where they
        are none."""
        text = header(scope, "x-understudy-label")
        if text is None or self.fleet.models[target.model].task != "object-detection":
            return text
        try:
            return from_text(text)
        except ValueError as error:
            mend = '[{"label": "7", "box": [left, top, right, bottom]}], one line of JSON, pixels of the image'
            raise InputError(str(error), field="x-understudy-label", mend=mend) from None

    def prepare(self, scope: Scope, body: bytes, arrived: float) -> Call:
        """Check who is asked. Raises InputError, UnknownName."""
        target = target_of(scope)
        self.fleet.model(target.model)
        if self.fleet.models[target.model].task == "text-generation":
            raise InputError(f"{target.model} generates text", field="model", mend="POST to /v1/completions")
        if self.fleet.models[target.model].task == "image-generation":
            raise InputError(f"{target.model} draws", field="model", mend="POST to /v1/images/generations")

        def ask(seat: Seat) -> tuple[str, bytes]:
            return f"/v2/models/{seat.live.asked_as}/infer", body

        return Call(
            target=target,
            client=header(scope, "x-understudy-client"),
            ask=ask,
            headers={name: value for name in PASSED_IN if (value := header(scope, name)) is not None},
            streamed=False,
            request_id=header(scope, "x-request-id") or "",
            arrived=arrived,
        )


class MetadataRoute:
    """`GET /v2/models/{model}[/versions/{variant}]`: the engine's own metadata under the client's name for it."""

    def __init__(self, fleet: Fleet, relay: Relay) -> None:
        self.fleet, self.relay = fleet, relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            target = target_of(scope)
            seat, _ = self.fleet.place(target, None, set())
            document = {"name": target.model, "versions": list(self.fleet.seats[target.model])}
            if self.fleet.models[target.model].task == "text-generation":
                # Text engines speak OpenAI's protocol, not tensors: they have no tensors to describe.
                document |= {"platform": seat.live.engine.settings.kind, "inputs": [], "outputs": []}
            else:
                found = await self.relay.fetch(seat, f"/v2/models/{seat.live.asked_as}")
                document = {**found, **document}
            await send_json(send, 200, json.dumps(document).encode())
        except UnderstudyError as error:
            await refuse(send, error, open_inference_body)


class ReadyRoute:
    """`GET /v2/models/{model}[/versions/{variant}]/ready`: 200 when a request would find an engine, else 503."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            target = target_of(scope)
            self.fleet.place(target, None, set())
            await send_json(send, 200, json.dumps({"name": target.model, "ready": True}).encode())
        except UnderstudyError as error:
            await refuse(send, error, open_inference_body)


class ServerRoute:
    """`GET /v2` and `GET /v2/health/{live,ready}`."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        probe = scope["path_params"].get("probe")
        document: dict[str, Any] = SERVER
        status = 200
        if probe == "live":
            document = {"live": True}
        elif probe == "ready":
            document = {"ready": self.fleet.ready}
            status = 200 if self.fleet.ready else 503
        elif probe is not None:
            error = UnknownName(f"there is no probe {probe!r}", mend="probes are live and ready")
            await refuse(send, error, open_inference_body)
            return
        await send_json(send, status, json.dumps(document).encode())
