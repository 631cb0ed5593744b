"""Which requests are compared by a shadow, decided before it is known who answers them.

By a hash of the request's id and of nothing else, so that a busy moment cannot choose. A labelled request is compared
by what is right, any other by agreement, but never an adapter's, whose point is to answer otherwise.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from serve.dataplane.router import Target
from serve.dataplane.upstreams import Upstreams
from serve.shadow.comparison import comparable
from variants.vision.boxes import Box

Label = str | list[Box]
"""What is right: a label, or a detector's boxes."""


@dataclass(frozen=True)
class Sample:
    """A request that is to be compared by `variant`, before it is known who answers it."""

    variant: str
    request: str
    length: int
    label: Label | None
    document: dict[str, Any] | None
    path: str


def sample(
    upstreams: Upstreams,
    *,
    request_id: str,
    opted_out: bool,
    target: Target,
    path: str,
    body: bytes,
    label: Label | None,
    document: dict[str, Any] | None = None,
) -> list[Sample]:
    """Which shadows compare this request; by its id's hash, before load is looked at. `body` is what the client
    sent, `document` the same read. A request that names its variant is not the router's, and is left alone."""
    shares = upstreams.snapshot.traffic[target.model].traffic.shadows
    if not shares or target.variant or path == "/tokenize" or opted_out:
        return []
    found = []
    for variant, share in shares.items():
        upstream = upstreams.by_model[target.model][variant]
        agreeable = upstream.served.adapter is None and comparable(path, document)
        if (label is None or bool((document or {}).get("stream"))) and not agreeable:
            continue
        if fraction(f"{request_id}\0{variant}".encode()) < share:
            digest = hashlib.sha256(path.encode() + b"\0" + body).hexdigest()[:32]
            found.append(Sample(variant, digest, len(body), label, document, path))
    return found


def fraction(data: bytes) -> float:
    """A hash of `data` as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") / 2**64
