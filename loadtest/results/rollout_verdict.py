"""The verdict on a shadow variant, from the `verdict.json` that the demo writes: the server's answer on a rollout.

This module judges nothing: bounds and states come from the server (see docs/evidence.md). A metric is proven to hold,
proven broken, or not proven yet.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import AliasChoices, AliasPath, ConfigDict, Field

from loadtest.target import ServerState
from variants.document import Document
from variants.errors import IntegrityError
from variants.evidence.gate import Decision, Metric, State
from variants.reports.formats import points, share

MEANS: Mapping[str, str] = {
    "quality": "right answers, minus those of its parent",
    "agreement": "agreement with its parent's answer, minus the parent's agreement when asked again",
    "preference": "better answers, minus those of its parent, by labels, people or a judge",
    "floor": "right answers, minus the required share of its parent's",
    "latency": "requests within the latency objective",
    "errors": "requests that failed",
    "feedback": "mean score from clients",
}
STATES: Mapping[str, str] = {"holds": "proven to hold", "broken": "proven broken", "open": "not proven yet"}
DECISIONS: Mapping[str, str] = {
    "promote": "proven to keep every limit",
    "roll back": "proven to break a limit",
    "inconclusive": "neither proven to keep its limits nor to break one",
}


class MetricFigures(Document):
    """One metric of the gate over `n` outcomes: its mean, bounds that are valid at every look, and its limit. All are
    shares or differences of shares, as fractions."""

    model_config = ConfigDict(extra="ignore")
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
    def mean_text(self) -> str:
        """The mean and its bounds as text."""
        if self.value is None:
            return "no outcome yet"
        return f"{self.read(self.value)} ({self.read(self.low)} to {self.read(self.high)})"

    @property
    def is_broken(self) -> bool:
        return self.state == "broken"

    @property
    def state_text(self) -> str:
        return STATES[self.state]

    @property
    def allowed(self) -> str:
        return f"{'at most' if self.metric == 'errors' else 'at least'} {self.read(self.limit)}"

    def read(self, value: float) -> str:
        return share(value) if self.metric in ("latency", "errors", "feedback") else f"{points(value)} points"


class Pairs(Document):
    """The numbers of requests that were sampled for a comparison, compared, skipped for lack of time, and lost, by
    reason."""

    model_config = ConfigDict(extra="ignore")
    chosen: int
    compared: int
    skipped: int = Field(validation_alias=AliasChoices("skipped", "dropped"))
    lost: dict[str, int] = Field(default_factory=dict)


class VerdictFigures(Document):
    """A rollout and its verdict, from the answer of `/admin/v1/models/{model}/rollout`, and `says`, its sentences.

    `status` and `why` are those of the rollout; `decision` and `missing` are those of the gate. `artifacts` are the
    digests of the parent and the variant. `alpha` is the probability that the gate is wrong, over all its metrics.
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
    says: tuple[str, ...] = ()


def read_verdict(path: Path, state: ServerState) -> VerdictFigures | None:
    """The verdict in the file at `path`, None if there is no file. Raises ValidationError if it is invalid, UnknownName
    for a model that was not served, and IntegrityError for other builds than those that were served."""
    if not path.exists():
        return None
    rollout = VerdictFigures.model_validate_json(path.read_bytes())
    served = {each.variant: each.artifact_sha256 for each in state.served(rollout.model, "verdict.json").variants}
    if (served.get(rollout.parent), served.get(rollout.variant)) != rollout.artifacts:
        raise IntegrityError(
            f"{path.name} is about other builds of {rollout.model}", mend="remove it, or run the demo again"
        )
    return rollout.model_copy(update={"says": tuple(sentences(rollout))})


def sentences(rollout: VerdictFigures) -> Iterable[str]:
    """Sentences on the comparison, the decision, and the evidence that is missing."""
    name, parent, pairs = rollout.variant, rollout.parent, rollout.pairs
    yield (
        f"{rollout.model}: {name} was compared with {parent} on {pairs.compared:,} live requests that {parent} had "
        f"answered, without delay for clients; {pairs.chosen:,} were sampled, "
        f"{pairs.skipped:,} skipped for lack of time, {sum(pairs.lost.values()):,} lost."
    )
    yield f"{name} is {DECISIONS[rollout.decision]}; the rollout ended as {rollout.status}: {rollout.why}."
    if rollout.missing:
        yield f"A verdict still needs: {'; '.join(rollout.missing)}."
