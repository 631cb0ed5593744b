"""Counts the results of replays, for the controller and for Prometheus."""

import logging
from typing import Any

from serve import metrics
from serve.dataplane.observations import Observations, Shadowed
from serve.shadow.comparison import ShadowAgreement
from serve.shadow.replay import Replay, right

log = logging.getLogger("understudy.shadow")


class Tally:
    """Each replay ends with one result: compared, failed, unjudged, dropped or withdrawn."""

    def __init__(self, observations: Observations) -> None:
        self.observations = observations

    def begin(self, replay: Replay) -> None:
        self.shadowed(replay).chosen += 1
        metrics.shadows_waiting.labels(*replay.variant.labels).inc()

    def drop(self, replay: Replay, why: str) -> None:
        self.shadowed(replay).dropped.append(replay.sample.length)
        self.ended(replay, why)

    def withdraw(self, replay: Replay) -> None:
        """The parent or the variant is gone or not ready: count as if the request had not been sampled."""
        self.shadowed(replay).chosen -= 1
        self.ended(replay, "withdrawn")

    def unjudged(self, replay: Replay, why: str) -> None:
        log.warning("a replay on %s could not be compared: %s", replay.variant.name, why, extra=logged(replay))
        self.shadowed(replay).unjudged.append(replay.sample.length)
        self.ended(replay, "unjudged")

    def failed(self, replay: Replay, why: str) -> None:
        """The variant did not answer: its score is 0 where the parent's answer has a score."""
        log.warning("%s did not answer a replay: %s", replay.variant.name, why, extra=logged(replay))
        known = right(replay)
        metric, values = (None, None) if known is None else ("quality", (0.0, round(known, 3)))
        self.record(replay, "failed", metric=metric, values=values, asked=True, failed=True)

    def record(self, replay: Replay, outcome: str, **details: Any) -> None:
        """Record a pair for the controller; dropped where too many pairs wait."""
        shadowed = self.shadowed(replay)
        if shadowed.full:
            self.drop(replay, "dropped_full")
        else:
            shadowed.pairs.append({"request": replay.sample.request, "length": replay.sample.length, **details})
            self.ended(replay, outcome)

    def record_agreement(self, replay: Replay, agreement: ShadowAgreement) -> None:
        """Record a pair that was compared by agreement."""
        values = round(agreement.variant, 3), round(agreement.floor, 3)
        self.record(
            replay,
            "compared",
            metric="agreement",
            values=values,
            divergence=agreement.divergence,
            asked=True,
            failed=False,
        )
        metrics.agreement.labels(*replay.variant.labels, "variant").observe(agreement.variant)
        metrics.agreement.labels(*replay.variant.labels, "parent").observe(agreement.floor)

    def ended(self, replay: Replay, outcome: str) -> None:
        metrics.shadows.labels(*replay.variant.labels, outcome).inc()
        metrics.shadows_waiting.labels(*replay.variant.labels).dec()

    def shadowed(self, replay: Replay) -> Shadowed:
        """The current counts of the pair. Look them up each time: a new batch may have begun since the sample."""
        pair = f"{replay.parent.manifest.digest}:{replay.variant.manifest.digest}"
        return self.observations.shadowed(replay.parent.served.model, pair)


def logged(replay: Replay) -> dict[str, str]:
    """The fields of the logs that name the variant."""
    model, variant = replay.variant.labels
    return {"model": model, "variant": variant}
