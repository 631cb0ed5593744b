"""Assigns a request to a variant: a pure function of the request and the model's traffic.

Sticky clients are assigned by weighted rendezvous hashing (Thaler and Ravishankar 1998; the weighted form of
Schindelhauer and Schomaker 2005, "Weighted distributed hash tables"). Each variant gets a score -weight / ln(u)
from a hash u of (client, variant), and the highest score wins. A changed weight changes only that variant's scores, so
only the necessary clients move: to a variant that gained weight, or away from one that lost weight. A request
without a client is assigned in the same way by a new random key. This module does not depend on HTTP or Ray.
"""

import hashlib
import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from variants.errors import UnknownName

Reason = Literal["weight", "sticky", "capable", "pinned", "fallback"]


@dataclass(frozen=True)
class Target:
    """A requested model name: `smollm2`, `smollm2@int8` or `smollm2@int8:1a2b3c4d`."""

    model: str
    variant: str | None = None
    build: str | None = None

    @classmethod
    def parse(cls, name: str) -> "Target":
        """Raises UnknownName where nothing follows `@` or `:`."""
        model, at, rest = name.partition("@")
        variant, colon, build = rest.partition(":")
        if (at and not variant) or (colon and not build):
            missing = "build" if variant else "variant"
            raise UnknownName(
                f"{name!r} names no {missing}", field="model", mend="model@variant or model@variant:build"
            )
        return cls(model, variant or None, build or None)


@dataclass(frozen=True)
class Assignment:
    """The variant of one request, and the reason for it."""

    model: str
    variant: str
    reason: Reason


def assign(
    target: Target,
    weights: Mapping[str, float],
    ready: Collection[str],
    client: str | None = None,
    pin: str | None = None,
    unable: Collection[str] = (),
    key: bytes = b"",
) -> Assignment | None:
    """Assign one request; None when no variant that may answer is ready.

    `weights` holds every variant of the model, also those of weight 0. A request that names a variant goes only there.
    A client's `pin` applies while that variant is ready and able. A routed request whose variant is not ready falls
    back to the next in its own order; later requests return to the first. Variants in `unable` cannot answer this
    request: where one of them has a weight, the reason is `capable`. Hashes are keyed by `key`, a secret, so that no
    client can choose a name for its variant. Raises UnknownName for a variant that the model does not have.
    """
    if target.variant is not None:
        if target.variant not in weights:
            raise UnknownName(
                f"model {target.model!r} has no variant {target.variant!r}",
                field="model",
                mend=f"variants are {', '.join(weights)}",
            )
        return Assignment(target.model, target.variant, "pinned") if target.variant in ready else None
    if pin in ready and pin not in unable:
        assert pin is not None
        return Assignment(target.model, pin, "pinned")
    whole = preference(f"{target.model}\0{client or secrets.token_hex(8)}", weights, key)
    order = [variant for variant in whole if variant not in unable]
    chosen: Reason = "capable" if len(order) < len(whole) else "sticky" if client else "weight"
    for place, variant in enumerate(order):
        if variant in ready:
            reason: Reason = "fallback" if place else chosen
            return Assignment(target.model, variant, reason)
    return None


def preference(client: str, weights: Mapping[str, float], key: bytes = b"") -> list[str]:
    """The variants of weight above 0, in this client's order of preference."""
    scores = {variant: score(client, variant, weight, key) for variant, weight in weights.items() if weight > 0}
    return sorted(scores, key=lambda variant: scores[variant], reverse=True)


def score(client: str, variant: str, weight: float, key: bytes = b"") -> float:
    name = f"{client}\0{variant}".encode(errors="surrogatepass")
    digest = hashlib.blake2b(name, digest_size=8, key=key).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -weight / math.log(uniform)
