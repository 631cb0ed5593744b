"""Samples the requests that shadow variants compare, before the answering variant is chosen.

The sample depends only on a hash of the request's id, so that load cannot bias it. A labelled request is compared by
its label, any other by agreement. Adapters are not compared by agreement, because they are trained to answer
differently.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from serve.config.capabilities import Needs, lack
from serve.dataplane.call import Call
from serve.dataplane.upstreams import Upstreams
from serve.shadow.comparison import comparable
from variants.vision.boxes import Box

Label = str | list[Box]
"""The right answer: a label, or boxes for a detector."""


@dataclass(frozen=True)
class Sample:
    """A request sampled for comparison with `variant`. `length` is in bytes."""

    variant: str
    request: str
    length: int
    label: Label | None
    document: dict[str, Any] | None
    path: str


def sample(
    upstreams: Upstreams,
    call: Call,
    path: str,
    body: bytes,
    label: Label | None,
    document: dict[str, Any] | None = None,
) -> list[Sample]:
    """The samples of this request, one for each shadow that compares it. `body` is the client's request, `document` the
    parsed form. Requests that name a variant are not sampled, because the router does not choose for them."""
    model = call.target.model
    shares = upstreams.snapshot.traffic[model].traffic.shadows
    if not shares or call.target.variant or path == "/tokenize":
        return []
    samples = []
    for variant, share in shares.items():
        upstream = upstreams.by_model[model][variant]
        if not both_able(upstreams, model, variant, call.needs):
            continue
        agreeable = upstream.served.adapter is None and comparable(path, document)
        if (label is None or bool((document or {}).get("stream"))) and not agreeable:
            continue
        if fraction(f"{call.request_id}\0{variant}".encode()) < share:
            digest = hashlib.sha256(path.encode() + b"\0" + body).hexdigest()[:32]
            samples.append(Sample(variant, digest, len(body), label, document, path))
    return samples


def both_able(upstreams: Upstreams, model: str, variant: str, needs: Needs) -> bool:
    """Whether a variant and its parent can answer a request with these needs. It depends on no load, so the sample of
    the requests that both can answer is unbiased."""
    of_model, parent = upstreams.by_model[model], upstreams.models[model].variants[variant].parent
    pair = [of_model[name].served for name in (variant, parent) if name in of_model]
    return not any(lack(each.capabilities, needs) for each in pair)


def fraction(data: bytes) -> float:
    """A hash of `data` as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") / 2**64
