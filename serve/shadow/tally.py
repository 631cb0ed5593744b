"""Counts the results of replays, for the controller and for Prometheus."""

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from serve import metrics
from serve.config.evidence_key import evidence_key
from serve.dataplane.observations import MOST, Observations, Shadowed
from serve.dataplane.upstream import Upstream
from serve.shadow.comparison import ShadowAgreement
from serve.shadow.opinions.difference import Difference
from serve.shadow.replay import Replay
from serve.shadow.sampling import Label

log = logging.getLogger("understudy.shadow")
COMPARABLE = "comparable"
OF_OPINION = ("id", "request", "client", "trusted", "segments")
"""What an opinion says of its pair."""


class Scores(NamedTuple):
    """Scores by the label of one request: the variant's, the parent's, and the parent's by another request's label."""

    variant: float
    parent: float
    shuffled: float | None


class Tally:
    """Each replay ends with one result: compared, failed, lost, dropped or withdrawn. `differs` is told of pairs whose
    answers differ."""

    def __init__(self, observations: Observations, differs: Callable[[Difference], None] = lambda pair: None) -> None:
        self.observations, self.differs = observations, differs

    def see(self, parent: Upstream, variant: Upstream, why_not: str | None) -> None:
        """Count a request that a shadow could have sampled, and why it cannot be compared, if so."""
        shadowed = self.shadowed(parent, variant)
        shadowed.seen += 1
        if why_not is not None:
            shadowed.incomparable[why_not] += 1
        metrics.shadow_requests.labels(*variant.labels, why_not or COMPARABLE).inc()

    def begin(self, replay: Replay) -> None:
        self.of(replay).chosen += 1
        metrics.shadows_waiting.labels(*replay.variant.labels).inc()

    def skip(self, replay: Replay, outcome: Literal["dropped_full", "dropped_late"]) -> None:
        """Drop a replay by a decision that looked at neither request nor answers."""
        self.of(replay).skipped.append(replay.sample.length)
        self.ended(replay, outcome)

    def withdraw(self, replay: Replay) -> None:
        """The parent or the variant is gone or not ready, or both refused: as if the request had not been sampled."""
        self.of(replay).chosen -= 1
        self.ended(replay, "withdrawn")

    def lose(self, replay: Replay, reason: str, why: str = "") -> None:
        """Drop a replay for a reason that may depend on the request or on the answers. `why` is logged."""
        if why:
            log.warning("a replay on %s was lost: %s: %s", replay.variant.name, reason, why, extra=logged(replay))
        metrics.shadow_lost.labels(*replay.variant.labels, reason).inc()
        reasons = self.of(replay).lost.setdefault("agreement" if replay.label is None else "quality", {})
        reasons.setdefault(reason, []).append(replay.sample.length)
        self.ended(replay, "lost")

    def unanswered(self, replay: Replay, side: Literal["variant", "parent"], why: str, failed: bool = False) -> None:
        """One side did not answer. This is an error and no wrong answer. `failed`: it is the variant's. `why` is
        logged."""
        if why:
            log.warning("the %s of a pair did not answer: %s", side, why, extra=logged(replay))
        metrics.shadow_lost.labels(*replay.variant.labels, f"{side} failed").inc()
        self.record(replay, "failed" if failed else "lost", lost=f"{side} failed", failed=failed)

    def quality(self, replay: Replay, scores: Scores) -> None:
        """Record a pair that was compared by its label."""
        values = round(scores.variant, 3), round(scores.parent, 3)
        shuffled = None if scores.shuffled is None else round(scores.shuffled, 3)
        self.record(replay, "compared", metric="quality", values=values, shuffled=shuffled)

    def agreement(self, replay: Replay, agreement: ShadowAgreement) -> None:
        """Record a pair that was compared by agreement."""
        values = round(agreement.variant, 3), round(agreement.floor, 3)
        checks = {} if agreement.checks is None else {"checks": agreement.checks}
        divergence = agreement.divergence
        self.record(replay, "compared", metric="agreement", values=values, divergence=divergence, **checks)
        metrics.agreement.labels(*replay.variant.labels, "variant").observe(agreement.variant)
        metrics.agreement.labels(*replay.variant.labels, "parent").observe(agreement.floor)

    def record(self, replay: Replay, outcome: str, **details: Any) -> None:
        """Record a pair for the controller; dropped where too many pairs wait."""
        shadowed = self.of(replay)
        if shadowed.full:
            self.skip(replay, "dropped_full")
        else:
            pair = pair_of(replay) | details
            shadowed.pairs.append(pair)
            self.ended(replay, outcome)
            if pair["metric"] is not None and pair["same"] is False:
                self.differs(difference_of(replay, pair))

    def opinion(self, difference: Difference, outcome: int, by: Literal["judge", "person", "label"]) -> bool:
        """Record which answer of a pair is better: 1, the variant's, 0, neither, or -1. Gives whether there was
        room."""
        shadowed = self.observations.shadowed(difference.model, difference.key)
        if len(shadowed.opinions) >= MOST:
            return False
        pair = {name: difference.pair[name] for name in OF_OPINION}
        shadowed.opinions.append({**pair, "outcome": outcome, "by": by, "known": difference.known})
        return True

    def ended(self, replay: Replay, outcome: str) -> None:
        metrics.shadows.labels(*replay.variant.labels, outcome).inc()
        metrics.shadows_waiting.labels(*replay.variant.labels).dec()

    def of(self, replay: Replay) -> Shadowed:
        return self.shadowed(replay.parent, replay.variant)

    def shadowed(self, parent: Upstream, variant: Upstream) -> Shadowed:
        """The current counts of a variant and its parent. Look them up each time: a new batch may have begun since."""
        return self.observations.shadowed(parent.served.model, evidence_key(parent.served, variant.served))


def pair_of(replay: Replay) -> dict[str, Any]:
    """A pair without an outcome. Only hashes, lengths and scores of a request are kept, not texts and images."""
    sample = replay.sample
    return {
        "id": sample.id,
        "request": sample.request,
        "length": sample.length,
        "client": sample.client,
        "trusted": sample.trusted,
        "metric": None,
        "values": None,
        "shuffled": None,
        "label": None if replay.label is None else label_digest(replay.label),
        "asked": replay.asked_variant,
        "failed": False,
        "lost": None,
        "same": replay.same,
        "segments": dict(replay.segments),
        "divergence": None,
    }


def difference_of(replay: Replay, pair: dict[str, Any]) -> Difference:
    """A pair whose answers differ, with its texts."""
    assert replay.answers is not None
    parent, variant = replay.parent.served, replay.variant.served
    of_variant, of_parent = replay.answers
    values = pair["values"] if pair["metric"] == "quality" else None
    return Difference(
        variant.model,
        variant.variant,
        parent.variant,
        evidence_key(parent, variant),
        pair,
        replay.prompt,
        (of_variant.whole, of_parent.whole),
        None if values is None else (values[0] > values[1]) - (values[0] < values[1]),
        time.time(),
        replay.sample.sender,
    )


def label_digest(label: Label) -> str:
    """Eight hex digits that tell labels apart."""
    text = label if isinstance(label, str) else repr(label)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def logged(replay: Replay) -> dict[str, str]:
    """The fields of the logs that name the variant."""
    model, variant = replay.variant.labels
    return {"model": model, "variant": variant}
