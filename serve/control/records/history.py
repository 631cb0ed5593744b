"""What happened in every rollout: a fold over the journal, so each figure names the entry that it is from.

A rollout's id is `r-` and the number of its first entry. Decisions are kept for ever. Evidence over time is thinned to
`MOST_POINTS` points a rollout, and to fewer for rollouts of long ago. Pure.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from serve.control.journal import Entry

MOST_POINTS = 200
WHOLE = 10
"""So many rollouts of a model keep all their points, ..."""
FEW_POINTS = 20
"""... and those before them so many."""
LEAST_S, MOST_S, A_PART = 1.0, 60.0, 50
"""A point is taken when a fiftieth of the rollout's age has passed since the last one, within these limits, ..."""
FIGURES = ("n", "low", "high", "limit", "state")
Point = dict[str, Any]


@dataclass
class Record:
    """One rollout. `steps` are its decisions, `points` its evidence over time, `around` the machine and the engines."""

    id: str
    model: str
    variant: str
    parent: str
    digests: list[str]
    plan: dict[str, Any]
    who: str
    began: str
    around: dict[str, Any]
    open: bool = True
    ended: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.steps[-1]["status"])

    def add_point(self, point: Point, most: int = MOST_POINTS) -> None:
        self.points.append(point)
        self.points = thinned(self.points, most)

    def is_due(self, decision: str, at: datetime) -> bool:
        """Whether the evidence should be noted now: at once if the decision is another one than before."""
        if not self.points or self.points[-1]["decision"] != decision:
            return True
        age_s = (at - datetime.fromisoformat(self.began)).total_seconds()
        since_s = (at - datetime.fromisoformat(self.points[-1]["at"])).total_seconds()
        return since_s >= min(MOST_S, max(LEAST_S, age_s / A_PART))


@dataclass
class History:
    """Records by model, oldest first."""

    records: dict[str, list[Record]] = field(default_factory=dict)

    def of(self, model: str) -> list[Record]:
        return self.records.get(model, [])

    def latest(self, model: str) -> Record | None:
        records = self.of(model)
        return records[-1] if records else None

    def note(self, entry: Entry, is_open: bool) -> None:
        """Note an entry of kind `rollout`. It begins a record if the rollout is open and the one before is not."""
        record = self.latest(entry["model"])
        if record is None or (is_open and not record.open):
            record = begun(entry)
            self.add(record)
        step = step_of(entry)
        if not is_open and (not record.steps or step["status"] != record.status):
            record.ended = step["at"]
        record.open = is_open
        record.steps.append(step)
        if step["verdict"] is not None:
            record.add_point(point_of(entry, step["verdict"]))

    def add(self, record: Record) -> None:
        records = self.records.setdefault(record.model, [])
        records.append(record)
        for older in records[-WHOLE - 1 : -WHOLE]:
            older.points = thinned(older.points, FEW_POINTS)

    def note_progress(self, entry: Entry) -> None:
        """Note an entry of kind `progress`: how the evidence of the latest rollout stands."""
        record = self.latest(entry["model"])
        if record is not None:
            record.add_point({"seq": entry["seq"], "at": entry["at"], **entry["point"]})


def begun(entry: Entry) -> Record:
    """The record that a rollout's first entry begins."""
    rollout = entry["rollout"]
    return Record(
        id=f"r-{entry.get('seq', 0)}",
        model=entry["model"],
        variant=rollout["plan"]["variant"],
        parent=rollout["parent"],
        digests=list(rollout["digests"]),
        plan=rollout["plan"],
        who=entry.get("who", "unnamed"),
        began=entry.get("at", ""),
        around=entry.get("around", {}),
    )


def step_of(entry: Entry) -> dict[str, Any]:
    """One decision: when, who, why, and what followed. `account` is what had been compared and left out by then."""
    rollout = entry["rollout"]
    return {
        "seq": entry.get("seq", 0),
        "at": entry.get("at", ""),
        "who": entry.get("who", "unnamed"),
        "why": rollout["why"],
        "step": rollout["plan"]["steps"][rollout["step"]],
        "status": rollout["status"],
        "weights": entry["traffic"]["weights"],
        "version": entry["version"],
        "verdict": entry.get("verdict"),
        "account": entry.get("account"),
    }


def point_of(entry: Entry, verdict: dict[str, Any]) -> Point:
    return {"seq": entry.get("seq", 0), "at": entry.get("at", ""), **figures_of(verdict)}


def figures_of(verdict: dict[str, Any]) -> Point:
    """The figures of a verdict's document that are kept over time."""
    metrics = {
        finding["metric"]: {"mean": finding["value"], **{name: finding.get(name) for name in FIGURES}}
        for finding in verdict["findings"]
    }
    return {"decision": verdict["decision"], "metrics": metrics}


def thinned(points: list[Point], most: int) -> list[Point]:
    """At most so many points. The one whose neighbours are nearest in time goes first; the first and last stay."""
    if len(points) <= most:
        return points
    points = list(points)
    times = [datetime.fromisoformat(point["at"]).timestamp() for point in points]
    while len(points) > most:
        gaps = [times[number + 1] - times[number - 1] for number in range(1, len(points) - 1)]
        least = 1 + gaps.index(min(gaps))
        del points[least], times[least]
    return points
