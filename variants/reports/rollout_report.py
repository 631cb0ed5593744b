"""A rollout's document (`/admin/v1/models/{model}/rollouts/{id}`) as Markdown and as one HTML page.

Both have the same sections. Each figure names the number of the journal's entry that it is from. Nothing is judged or
computed here. The document's parts are read where they are there: an older server has fewer.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from variants.reports.formats import NOTHING, number, points, share
from variants.reports.page import render

Json = dict[str, Any]
AS_SHARE = ("latency", "errors", "feedback")
"""Metrics that are shares; the others are differences."""
MEANS = {
    "quality": "right answers, minus the parent's",
    "agreement": "agreement with the parent's answer, minus the parent's own",
    "preference": "better answers, minus the parent's, by labels, people or a judge",
    "floor": "right answers, minus the required share of the parent's",
    "latency": "requests within the objective",
    "errors": "requests that failed",
    "feedback": "mean score from clients",
}
LIMITS = (
    "The verdict is about the requests that came while the rollout ran. It says nothing about others.",
    "An interval covers all looks together: with the gate's probability the true mean was never outside it.",
    "A metric that is not proven is not refuted: too few outcomes look like no difference.",
)
LEAST_POINTS = 2
"""So many points make a line."""


class Section(NamedTuple):
    """A heading, sentences, and a table."""

    title: str
    sentences: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def sections(document: Json) -> list[Section]:
    """Every part of the report but the picture."""
    account = document.get("account") or {}
    every = [
        _verdict(document),
        _steps(document),
        _segments(document),
        _account(account),
        Section("What was left out, and why", tuple(document.get("left_out") or ("Nothing.",))),
        _plan(document["plan"]),
        _engines(document),
    ]
    return [section for section in every if section.sentences or section.rows]


def title_of(document: Json) -> str:
    if document["plan"].get("aa"):
        return f"{document['model']}: {document['parent']} compared with itself (A/A), {document['status']}"
    return f"{document['model']}: {document['parent']} → {document['variant']}, {document['status']}"


def lead(document: Json) -> list[str]:
    """What happened, in sentences."""
    journal = document["journal"]
    now = f"It is {document['status']}, at the step {step_text(document['step'])}"
    ended = f"It ended {clock_of(document['ended'])}" if document.get("ended") else now
    began = f"Rollout {document['id']} began {clock_of(document['began'])}, by {document['who']}"
    return [
        f"{began}. {ended}: {document['why']}.",
        f"Entries {journal['first']} to {journal['last']} of the server's journal hold it. “Entry” names each.",
    ]


def as_markdown(document: Json) -> str:
    lines = [f"# {title_of(document)}", ""]
    for sentence in lead(document):
        lines += [sentence, ""]
    for section in sections(document):
        lines += [f"## {section.title}", ""]
        lines += [*(f"- {escaped(each)}" for each in section.sentences), *([""] if section.sentences else [])]
        if section.rows:
            lines += [f"| {' | '.join(row)} |" for row in (section.head, ("---",) * len(section.head))]
            lines += [f"| {' | '.join(map(escaped, row))} |" for row in section.rows]
            lines.append("")
    lines += ["## What these figures do not say", "", *(f"- {each}" for each in LIMITS), ""]
    lines += ["## Machine and versions", "", *(f"- {name}: {value}" for name, value in facts(document).items())]
    return "\n".join(lines) + "\n"


def as_html(document: Json) -> str:
    return render(
        Path(__file__).with_name("rollout.html.j2"),
        title=title_of(document),
        lead=lead(document),
        picture=picture(document),
        sections=sections(document),
        limits=LIMITS,
        alpha=(document["plan"].get("gate") or {}).get("alpha"),
        facts=facts(document),
    )


def pictured(document: Json) -> list[str]:
    """The metrics that have enough points for a line."""
    metrics = dict.fromkeys(name for point in document["evidence"] for name in point["metrics"])
    return [metric for metric in metrics if len(known_points(document, metric)) >= LEAST_POINTS]


def known_points(document: Json, metric: str) -> list[tuple[float, Json]]:
    """The points at which a metric had a mean, each with its minute."""
    began = datetime.fromisoformat(document["began"])
    return [
        (minutes_after(began, point["at"]), point["metrics"][metric])
        for point in document["evidence"]
        if (point["metrics"].get(metric) or {}).get("mean") is not None
    ]


def picture(document: Json, only: str | None = None) -> Markup | None:
    """The evidence over time, of one metric or of all; None where there are too few points for a line."""
    from variants.reports.evidence_plot import Series, plot  # here, because Matplotlib takes memory and time to import

    began = datetime.fromisoformat(document["began"])
    series = []
    for metric in pictured(document):
        if only not in (None, metric):
            continue
        known = known_points(document, metric)
        minutes = [minute for minute, _ in known]
        means, lows, highs = ([100 * each[name] for _, each in known] for name in ("mean", "low", "high"))
        unit = "%" if metric in AS_SHARE else "points"
        series.append(Series(f"{metric}, {unit}", minutes, means, lows, highs, 100 * known[-1][1]["limit"]))
    if not series:
        return None
    moments = [(minutes_after(began, step["at"]), moment_of(step)) for step in document["steps"]]
    return plot("evidence", f"Evidence over time of {title_of(document)}", series, moments)


def moment_of(step: Json) -> str:
    return step_text(step["step"]) if step["status"] == "running" else step["status"]


def minutes_after(began: datetime, at: str) -> float:
    return (datetime.fromisoformat(at) - began).total_seconds() / 60


def _verdict(document: Json) -> Section:
    verdict = document.get("verdict")
    if not verdict:
        return Section("The verdict", ("No verdict was given.",))
    rows = tuple(
        (
            each["metric"], MEANS.get(each["metric"], ""), f"{each['n']:,}", figure(each["metric"], each["value"]),
            f"{figure(each['metric'], each['low'])} to {figure(each['metric'], each['high'])}",
            f"{'at most' if each['metric'] == 'errors' else 'at least'} {figure(each['metric'], each['limit'])}",
            each["state"], str(verdict["seq"]),
        )
        for each in verdict["findings"]
    )  # fmt: skip
    head = ("metric", "meaning", "n", "mean", "interval", "limit", "state", "entry")
    said = (f"{verdict['decision']} (entry {verdict['seq']})", *verdict["missing"])
    return Section("The verdict", said, head, rows)


def _steps(document: Json) -> Section:
    rows = tuple(
        (
            clock_of(step["at"]), step_text(step["step"]), step["status"], step["who"], step["why"],
            shares(step["weights"]),
            step["verdict"]["decision"] if step["verdict"] else NOTHING, str(step["seq"]),
        )
        for step in document["steps"]
    )  # fmt: skip
    return Section("Every decision", (), ("time", "step", "status", "by", "why", "traffic", "verdict", "entry"), rows)


def _segments(document: Json) -> Section:
    verdict = document.get("verdict") or {}
    rows = tuple(
        (each["name"], f"{each['n']:,}", points(each["value"]), f"{points(each['low'])} to {points(each['high'])}")
        for each in verdict.get("segments") or ()
    )
    return Section("Segments, the worst first", (), ("segment", "n", "difference, points", "interval"), rows)


def _account(account: Json) -> Section:
    """Pairs, coverage, assignments and whatever else the server tells about requests."""
    rows = []
    for part, told in account.items():
        for name, value in told.items() if isinstance(told, dict) else ():
            rows.append((part, name.replace("_", " "), plain(value), str(account["seq"])))
    return Section("Requests: pairs, coverage, assignments", (), ("part", "figure", "value", "entry"), tuple(rows))


def _plan(plan: Json) -> Section:
    rows = [(name.replace("_", " "), plain(value)) for name, value in plan.items() if name not in ("gate", "steps")]
    rows.insert(1, ("steps", ", ".join(step_text(step) for step in plan["steps"])))
    rows += [
        (f"gate: {name}", plain(value)) for name, value in (plan.get("gate") or {}).items() if value is not None
    ]  # fmt: skip
    return Section("The plan", (), ("field", "value"), tuple(rows))


def _engines(document: Json) -> Section:
    rows = tuple(
        (
            name, each.get("artifact_sha256", "")[:16], each.get("precision") or NOTHING, each.get("method") or NOTHING,
            plain({key: value for key, value in (each.get("settings") or {}).items() if value is not None}),
        )
        for name, each in (document.get("engines") or {}).items()
    )  # fmt: skip
    return Section("Artifacts and engines", (), ("variant", "artifact", "precision", "method", "engine"), rows)


def facts(document: Json) -> dict[str, str]:
    """The machine and the versions when the rollout began."""
    return {name: plain(value) for name, value in {**(document.get("machine") or {}), **document["versions"]}.items()}


def figure(metric: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    return share(value) if metric in AS_SHARE else f"{points(value)} points"


def plain(value: Any) -> str:
    """Any value of a document as text for a cell."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items()) or NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or NOTHING
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, float):
        return number(value) if abs(value) >= 0.001 or not value else f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def shares(weights: dict[str, float]) -> str:
    whole = sum(weights.values())
    return ", ".join(f"{name} {share(weight / whole)}" for name, weight in weights.items())


def step_text(step: str | float) -> str:
    return step if isinstance(step, str) else f"{step:g} %"


def clock_of(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S} UTC" if at else NOTHING


def escaped(text: str) -> str:
    """Text for a cell or an item of Markdown: one line, and without signs that Markdown or HTML would read."""
    for sign in "\\|`<*_[":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
