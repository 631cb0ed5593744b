"""The verdict on a variant that shadowed its parent, where a demo has left one: `verdict.json`, what the server said of
its rollout. Typed, and in words.

Nothing is judged here: bounds and states are the server's (docs/evidence.md says what they mean). Three states: proven
to hold, proven broken, or not proven yet, which is neither.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from loadtest.results.compare import Figures
from loadtest.target import ServerState
from variants.errors import IntegrityError
from variants.evidence.gate import Decision, Metric, State
from variants.reports.formats import points, share

MEANS: Mapping[str, str] = {
    "quality": "right answers, less its parent's",
    "agreement": "agreement with its parent's answer, less the parent's own when asked again",
    "floor": "right answers, less the share of its parent's that must be kept",
    "latency": "requests within the latency objective",
    "errors": "requests that failed",
    "feedback": "mean score of what clients scored",
}
STATES: Mapping[str, str] = {"holds": "proven to hold", "broken": "proven broken", "open": "not proven yet"}
DECISIONS: Mapping[str, str] = {
    "promote": "proven to keep every limit",
    "roll back": "proven to break a limit",
    "inconclusive": "neither proven to keep its limits nor to break one",
}


class MetricFigures(Figures):
    """One metric of the gate over `n` outcomes: its mean, bounds that hold however often one looks, and the limit.
    Shares and differences of shares, as fractions."""

    metric: Metric
    n: int
    value: float | None
    low: float
    high: float
    limit: float
    state: State

    @property
    def means(self) -> str:
        return MEANS[self.metric]

    @property
    def said(self) -> str:
        """Where it stands, in the unit that people read."""
        if self.value is None:
            return "no outcome yet"
        return f"{self.read(self.value)} ({self.read(self.low)} to {self.read(self.high)})"

    @property
    def state_said(self) -> str:
        return STATES[self.state]

    @property
    def allowed(self) -> str:
        return f"{'at most' if self.metric == 'errors' else 'at least'} {self.read(self.limit)}"

    def read(self, value: float) -> str:
        return share(value) if self.metric in ("latency", "errors", "feedback") else f"{points(value)} points"


class ServerResponse(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Pairs(ServerResponse):
    """Requests chosen to be compared, and what came of them."""

    chosen: int
    compared: int
    dropped: int


class VerdictFigures(Figures):
    """What was judged and how it ended. `status` and `why` are the rollout's, `decision` and `missing` the gate's;
    `artifacts` are the parent's and the variant's. `alpha`: how often the gate may be wrong, over all its metrics."""

    model: str
    variant: str
    parent: str
    artifacts: tuple[str, str]
    status: str
    why: str
    decision: Decision
    different: bool
    alpha: float
    pairs: Pairs
    metrics: tuple[MetricFigures, ...]
    missing: tuple[str, ...]
    says: tuple[str, ...]


class GateResponse(ServerResponse):
    alpha: float


class PlanResponse(ServerResponse):
    variant: str
    gate: GateResponse


class RolloutResponse(ServerResponse):
    plan: PlanResponse
    parent: str
    digests: tuple[str, str]
    status: str
    why: str


class VerdictResponse(ServerResponse):
    decision: Decision
    different: bool
    findings: tuple[MetricFigures, ...]
    missing: tuple[str, ...]


class RolloutStatusResponse(ServerResponse):
    """`/admin/v1/models/{model}/rollout`, as far as it is shown."""

    model: str
    rollout: RolloutResponse
    verdict: VerdictResponse
    pairs: Pairs


def read_verdict(path: Path, state: ServerState) -> VerdictFigures | None:
    """None where there is no file. Raises ValidationError for one that is not what it should be, IntegrityError for a
    verdict on builds that were not served, UnknownName on a model that was not."""
    if not path.exists():
        return None
    found = RolloutStatusResponse.model_validate_json(path.read_bytes())
    rollout, verdict = found.rollout, found.verdict
    variants = state.served(found.model, "verdict.json").variants
    served = {each.variant: each.artifact_sha256 for each in variants}
    if (served.get(rollout.parent), served.get(rollout.plan.variant)) != rollout.digests:
        raise IntegrityError(
            f"{path.name} is about other builds of {found.model}", mend="remove it, or run the demo again"
        )
    facts: dict[str, Any] = {
        "model": found.model,
        "variant": rollout.plan.variant,
        "parent": rollout.parent,
        "artifacts": rollout.digests,
        "status": rollout.status,
        "why": rollout.why,
        "decision": verdict.decision,
        "different": verdict.different,
        "alpha": rollout.plan.gate.alpha,
        "pairs": found.pairs,
        "metrics": verdict.findings,
        "missing": verdict.missing,
    }
    return VerdictFigures(**facts, says=tuple(sentences(found)))


def sentences(found: RolloutStatusResponse) -> Iterable[str]:
    """What was judged, what came of it, what is missing."""
    rollout, pairs = found.rollout, found.pairs
    name, parent = rollout.plan.variant, rollout.parent
    yield (
        f"{found.model}: {name} was compared with {parent} on {pairs.compared:,} live requests that {parent} had "
        f"answered, off the clients' path; {pairs.chosen:,} were chosen for it, {pairs.dropped:,} dropped."
    )
    yield f"{name} is {DECISIONS[found.verdict.decision]}; the rollout ended as {rollout.status}: {rollout.why}."
    if found.verdict.missing:
        yield f"Missing to a verdict: {'; '.join(found.verdict.missing)}."
