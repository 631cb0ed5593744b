"""A rollout as a document: the plan, every decision, the evidence over time, what was left out, and the verdict.

Each figure names the journal's entry that it is from (`seq`). Pure.
"""

from typing import Any

from serve.config.snapshot import ServedVariant
from serve.control.records.history import Record
from variants.errors import UnknownName
from variants.evidence.gate import Verdict
from variants.machine import describe, versions

SCHEMA = 1
NOT_ACCOUNT = ("model", "id", "rollout", "verdict", "traffic", "on_disk")
"""Parts of a rollout's answer that a record has elsewhere."""


def summary(record: Record) -> dict[str, Any]:
    """One line of the list of rollouts."""
    last = record.steps[-1]
    return {
        "id": record.id,
        "model": record.model,
        "variant": record.variant,
        "parent": record.parent,
        "began": record.began,
        "who": record.who,
        "ended": record.ended,
        "status": record.status,
        "step": last["step"],
        "why": last["why"],
    }


def document(record: Record, live: dict[str, Any] | None, seq: int) -> dict[str, Any]:
    """The whole record. `live` is the answer of a rollout that is still judged, from all entries up to `seq`."""
    account = account_of(record, live, seq)
    return {
        "schema": SCHEMA,
        **summary(record),
        "digests": dict(zip(("parent", "variant"), record.digests, strict=True)),
        "plan": record.plan,
        "steps": [{name: value for name, value in step.items() if name != "account"} for step in record.steps],
        "evidence": record.points,
        "verdict": verdict_of(record, live, seq),
        "account": account,
        "left_out": left_out(account or {}),
        "engines": record.around.get("engines", {}),
        "machine": record.around.get("machine"),
        "versions": record.around.get("versions", {}),
        "journal": {"first": record.steps[0]["seq"], "last": seq if live else record.steps[-1]["seq"]},
    }


def verdict_of(record: Record, live: dict[str, Any] | None, seq: int) -> dict[str, Any] | None:
    """The latest verdict with its entry; None where there was none."""
    if live:
        return {"seq": seq, **live["verdict"]}
    judged = [step for step in record.steps if step["verdict"] is not None]
    return {"seq": judged[-1]["seq"], "at": judged[-1]["at"], **judged[-1]["verdict"]} if judged else None


def account_of(record: Record, live: dict[str, Any] | None, seq: int) -> dict[str, Any] | None:
    """What was compared and what was not, with its entry; None before the first decision."""
    if live:
        return {"seq": seq, **account(live)}
    told = [step for step in record.steps if step["account"] is not None]
    return {"seq": told[-1]["seq"], **told[-1]["account"]} if told else None


def account(answer: dict[str, Any]) -> dict[str, Any]:
    """The part of a rollout's answer that is about requests: pairs, coverage, assignments."""
    return {name: value for name, value in answer.items() if name not in NOT_ACCOUNT}


def left_out(account: dict[str, Any]) -> list[str]:
    """What the evidence does not cover, and why, as sentences."""
    pairs, routed, coverage = (account.get(name) or {} for name in ("pairs", "routed", "coverage"))
    said = [
        f"{count} of {pairs.get('chosen', 0)} chosen pairs: {why}"
        for why, count in (
            ("there was no time to compare them", pairs.get("skipped")),
            ("their clients brought more than their share", pairs.get("over_share")),
            *((f"lost, {why}", count) for why, count in (pairs.get("lost") or {}).items()),
        )
        if isinstance(count, int) and count
    ]
    said += [
        f"{count} requests cannot be compared: {why}" for why, count in (coverage.get("incomparable") or {}).items()
    ]
    if coverage.get("failed_at_both"):
        said.append(f"{coverage['failed_at_both']} requests failed at the variant and at its parent")
    if routed.get("not_served"):
        said.append(f"{routed['not_served']} of {routed['requests']} requests need what the variant cannot answer")
    return said


def around(engines: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a rollout's first entry says of the machine, the packages, and the engines by variant."""
    return {"machine": describe().model_dump(mode="json"), "versions": versions(), "engines": engines}


def engine_document(variant: ServedVariant) -> dict[str, Any]:
    """A variant's artifact and the engine that answers for it."""
    return {
        "artifact_sha256": variant.manifest.digest,
        "method": variant.manifest.method,
        "precision": variant.manifest.precision,
        "engine_id": variant.engine.application,
        "settings": variant.engine.settings.model_dump(mode="json"),
    }


def rival_document(verdict: Verdict) -> dict[str, Any]:
    """What a candidate of a search that waits has shown so far, by metric."""
    return {
        finding.metric: {name: getattr(finding, name) for name in ("n", "value", "low", "high", "limit", "state")}
        for finding in verdict.findings
    }


def by_id(records: list[Record], model: str, name: str) -> Record:
    """Raises UnknownName."""
    for record in records:
        if record.id == name:
            return record
    known = ", ".join(record.id for record in records[-5:]) or "none"
    raise UnknownName(f"{model} has no rollout {name!r:.40}", field="id", mend=f"the latest are: {known}")
