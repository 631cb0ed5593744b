"""Which variant answers a request: a pure function of the request's facts and the model's traffic.

Sticky clients are placed by weighted rendezvous hashing (Thaler and Ravishankar 1998; the weighted form of
Schindelhauer and Schomaker 2005, "Weighted distributed hash tables"): each variant draws a score -weight / ln(u)
from a hash u of (client, variant), the highest wins. A changed weight changes only that variant's scores, so a
client moves only if the variant that gained now beats its old one, or its old one lost: no client moves that need
not. A request without a client is placed the same way by a fresh random key. Knows nothing of HTTP or Ray.
"""

import hashlib
import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from variants.errors import UnknownName

Reason = Literal["weight", "sticky", "pinned", "fallback"]


@dataclass(frozen=True)
class Target:
    """What a client asked for: `smollm2`, `smollm2@int8` or `smollm2@int8:1a2b3c4d`."""

    model: str
    variant: str | None = None
    build: str | None = None

    @classmethod
    def parse(cls, name: str) -> "Target":
        """Raises UnknownName where a variant or a build is announced and not named."""
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
    """One request's variant and the reason."""

    model: str
    variant: str
    reason: Reason


def assign(
    target: Target,
    weights: Mapping[str, float],
    ready: Collection[str],
    client: str | None = None,
    pin: str | None = None,
) -> Assignment | None:
    """Place one request; None when no variant that may answer is ready.

    `weights` holds every variant of the model, those of weight 0 too. A request that names a variant goes there or
    nowhere; one whose client the operator pinned goes to that `pin` as long as it is ready. A routed one whose variant
    is not ready falls back to the next in its own order, and keeps its place for later. Raises UnknownName for a
    variant that the model does not have.
    """
    if target.variant is not None:
        if target.variant not in weights:
            raise UnknownName(
                f"model {target.model!r} has no variant {target.variant!r}",
                field="model",
                mend=f"variants are {', '.join(weights)}",
            )
        return Assignment(target.model, target.variant, "pinned") if target.variant in ready else None
    if pin in ready:
        assert pin is not None
        return Assignment(target.model, pin, "pinned")
    order = preference(f"{target.model}\0{client or secrets.token_hex(8)}", weights)
    for place, variant in enumerate(order):
        if variant in ready:
            reason: Reason = "fallback" if place else "sticky" if client else "weight"
            return Assignment(target.model, variant, reason)
    return None


def preference(client: str, weights: Mapping[str, float]) -> list[str]:
    """The variants of weight above 0, in the order in which this client prefers them."""
    scores = {variant: score(client, variant, weight) for variant, weight in weights.items() if weight > 0}
    return sorted(scores, key=lambda variant: scores[variant], reverse=True)


def score(client: str, variant: str, weight: float) -> float:
    digest = hashlib.blake2b(f"{client}\0{variant}".encode(errors="surrogatepass"), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -weight / math.log(uniform)
