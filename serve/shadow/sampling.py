"""Samples the requests that shadow variants compare, before the answering variant is chosen.

The sample depends only on a keyed hash of the request's id, so that neither load nor a client can bias it. All shadows
of a model sample the same requests. A labelled request is compared by its label, any other by agreement. Adapters are
not compared by agreement, because they are trained to answer differently. Requests that cannot be compared are counted
by reason: no evidence is about them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serve.config.capabilities import Needs, lack
from serve.config.lineage import root_of
from serve.config.segment import Segment
from serve.dataplane.call import Call
from serve.dataplane.upstreams import Upstreams
from serve.shadow.comparison import incomparable
from variants.vision.boxes import Box

Label = str | list[Box]
"""The right answer: a label, or boxes for a detector."""
OTHER = "other"


@dataclass(frozen=True)
class Asked:
    """A client's request: its body, the parsed form, its headers and the label that its answer is scored by."""

    path: str
    body: bytes
    label: Label | None = None
    document: dict[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def opted_out(self) -> bool:
        """Whether the client forbids shadow comparison of its request."""
        return self.headers.get("x-understudy-shadow") == "off"

    @property
    def streamed(self) -> bool:
        return bool((self.document or {}).get("stream"))


@dataclass(frozen=True)
class Sample:
    """A request sampled for comparison with `variant`. `request` is a digest of what was asked, `id` a hash of this
    one request, `client` a hash of who sent it, `sender` of its API key alone. `trusted`: its
    API key is one whose labels the operator trusts. `length` is in bytes. `task` is a known task, or None."""

    variant: str
    request: str
    length: int
    label: Label | None
    document: dict[str, Any] | None
    path: str
    id: str = ""
    client: str | None = None
    trusted: bool = False
    task: str | None = None
    segments: Mapping[str, str] = field(default_factory=dict)
    sender: str | None = None


@dataclass(frozen=True)
class Selection:
    """What is made of one request: its samples, and for each shadow the reason why it is incomparable, or None."""

    samples: list[Sample] = field(default_factory=list)
    reasons: Mapping[str, str | None] = field(default_factory=dict)


def sample(upstreams: Upstreams, call: Call, asked: Asked) -> Selection:
    """Select a request for each shadow that compares it. Requests that name a variant are not of the shadows' traffic,
    because the router does not choose for them."""
    model = call.target.model
    shares = {name: share for name, share in upstreams.snapshot.traffic[model].traffic.shadows.items() if share > 0}
    if not shares or call.target.variant or asked.path == "/tokenize":
        return Selection()
    reasons = {variant: why_not(upstreams, call, variant, asked) for variant in shares}
    place = fraction(call.request_id.encode(), upstreams.hash_keys.sample)
    sampled = [variant for variant, share in shares.items() if reasons[variant] is None and place < share]
    return Selection([sample_of(upstreams, call, variant, asked) for variant in sampled], reasons)


def why_not(upstreams: Upstreams, call: Call, variant: str, asked: Asked) -> str | None:
    """Why this request cannot be compared with a variant and its parent; None where it can."""
    if asked.opted_out:
        return "opted out"
    if not both_able(upstreams, call.target.model, variant, call.needs):
        return "capability"
    if asked.label is not None and not asked.streamed:
        return None
    if upstreams.by_model[call.target.model][variant].served.adapter is not None:
        return "adapter without label" if asked.label is None else "stream with label"
    return incomparable(asked.path, asked.document)


def both_able(upstreams: Upstreams, model: str, variant: str, needs: Needs) -> bool:
    """Whether a variant and its parent can answer a request with these needs. It depends on no load, so the sample of
    the requests that both can answer is unbiased."""
    of_model, parent = upstreams.by_model[model], root_of(upstreams.models[model].variants, variant)
    pair = [of_model[name].served for name in (variant, parent) if name in of_model]
    return not any(lack(each.capabilities, needs) for each in pair)


def sample_of(upstreams: Upstreams, call: Call, variant: str, asked: Asked) -> Sample:
    judged, keys = upstreams.snapshot.judged.get(call.target.model), upstreams.snapshot.stack.server.keys or {}
    task = asked.headers.get("x-understudy-task")
    return Sample(
        variant=variant,
        request=hashlib.sha256(asked.path.encode() + b"\0" + asked.body).hexdigest()[:32],
        length=len(asked.body),
        label=asked.label,
        document=asked.document,
        path=asked.path,
        id=upstreams.hash_keys.request_of(call.request_id),
        client=upstreams.hash_keys.client_of(call.key, call.client),
        sender=upstreams.hash_keys.client_of(call.key, None),
        trusted=call.key in keys and keys[call.key].is_trusted_to_label,
        task=task if task in upstreams.known_tasks else None,
        segments=segments_of(judged.segments if judged else {}, asked.headers),
    )


def segments_of(declared: Mapping[str, Segment], headers: Mapping[str, str]) -> dict[str, str]:
    """The value of each declared segment, by its name."""
    segments = {}
    for name, segment in declared.items():
        given = headers.get(segment.header)
        segments[name] = given if given is not None and given in segment.values else OTHER
    return segments


def fraction(data: bytes, key: bytes = b"") -> float:
    """A keyed hash of `data` as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big") / 2**64
