"""The verdict on a variant that shadowed its parent, from `verdict.json`: the server's answer on its rollout, typed and
in words. A demo leaves the file.

Nothing is judged here: bounds and states are the server's (docs/evidence.md explains them). Three states: proven to
hold, proven broken, or not proven yet, which is neither.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import AliasPath, ConfigDict, Field

from loadtest.target import ServerState
from variants.document import Document
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


class MetricFigures(Document):
    """One metric of the gate over `n` outcomes: its mean, bounds that are valid however often one looks, and the limit.
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
        """Mean and bounds as text."""
        if self.value is None:
            return "no outcome yet"
        return f"{self.read(self.value)} ({self.read(self.low)} to {self.read(self.high)})"

    @property
    def is_broken(self) -> bool:
        return self.state == "broken"

    @property
    def state_said(self) -> str:
        return STATES[self.state]

    @property
    def allowed(self) -> str:
        return f"{'at most' if self.metric == 'errors' else 'at least'} {self.read(self.limit)}"

    def read(self, value: float) -> str:
        return share(value) if self.metric in ("latency", "errors", "feedback") else f"{points(value)} points"


class Pairs(Document):
    """Requests that were sampled for a comparison, compared, and dropped."""

    model_config = ConfigDict(extra="ignore")
    chosen: int
    compared: int
    dropped: int


class RolloutFigures(Document):
    """What was judged and how it ended, out of the answer of `/admin/v1/models/{model}/rollout`.

    `status` and `why` are the rollout's, `decision` and `missing` the gate's; `artifacts` are the parent's and the
    variant's. `alpha`: the probability that the gate is wrong, over all its metrics.
    """

    model_config = ConfigDict(extra="ignore")
    model: str
    variant: str = Field(validation_alias=AliasPath("rollout", "plan", "variant"))
    parent: str = Field(validation_alias=AliasPath("rollout", "parent"))
    artifacts: tuple[str, str] = Field(validation_alias=AliasPath("rollout", "digests"))
    status: str = Field(validation_alias=AliasPath("rollout", "status"))
    why: str = Field(validation_alias=AliasPath("rollout", "why"))
    decision: Decision = Field(validation_alias=AliasPath("verdict", "decision"))
    different: bool = Field(validation_alias=AliasPath("verdict", "different"))
    alpha: float = Field(validation_alias=AliasPath("rollout", "plan", "gate", "alpha"))
    pairs: Pairs
    metrics: tuple[MetricFigures, ...] = Field(validation_alias=AliasPath("verdict", "findings"))
    missing: tuple[str, ...] = Field(validation_alias=AliasPath("verdict", "missing"))


class VerdictFigures(RolloutFigures):
    """With sentences: the part of `summary.json`, whose fields are read by their names."""

    model_config = ConfigDict(extra="forbid")
    says: tuple[str, ...]


def read_verdict(path: Path, state: ServerState) -> VerdictFigures | None:
    """None where there is no file. Raises ValidationError for an invalid one, IntegrityError for a verdict on builds
    that were not served, UnknownName on a model that was not."""
    if not path.exists():
        return None
    rollout = RolloutFigures.model_validate_json(path.read_bytes())
    served = {each.variant: each.artifact_sha256 for each in state.served(rollout.model, "verdict.json").variants}
    if (served.get(rollout.parent), served.get(rollout.variant)) != rollout.artifacts:
        raise IntegrityError(
            f"{path.name} is about other builds of {rollout.model}", mend="remove it, or run the demo again"
        )
    return VerdictFigures(**dict(rollout), says=tuple(sentences(rollout)))


def sentences(rollout: RolloutFigures) -> Iterable[str]:
    """What was judged, how it ended, and what is missing."""
    name, parent, pairs = rollout.variant, rollout.parent, rollout.pairs
    yield (
        f"{rollout.model}: {name} was compared with {parent} on {pairs.compared:,} live requests that {parent} had "
        f"answered, off the clients' path; {pairs.chosen:,} were chosen for it, {pairs.dropped:,} dropped."
    )
    yield f"{name} is {DECISIONS[rollout.decision]}; the rollout ended as {rollout.status}: {rollout.why}."
    if rollout.missing:
        yield f"Missing to a verdict: {'; '.join(rollout.missing)}."
