"""What `understudy recommend` answers: as JSON, as text, and as a stack file that rolls the variant out."""

from collections.abc import Sequence
from typing import Any

import yaml

from serve.cli.recommendation.figures import Figures
from serve.config.stack import Stack
from variants.evidence.intervals import Interval
from variants.evidence.recommendation import ONE, Recommendation
from variants.reports.formats import share, size

HOUR_S = 3600


def document_of(
    model: str, figures: Sequence[Figures], answer: Recommendation, floor: float, price: float | None
) -> dict[str, Any]:
    """The answer with every variant's figures. `price` is that of an hour; `cost` and `saves` are for 1,000 requests,
    `saves` beside the model's baseline."""
    baseline = next(each for each in figures if each.candidate.cost == ONE)
    rows = []
    for each in figures:
        seconds, of_baseline = each.engine_s, baseline.engine_s
        saved = None if seconds is None or of_baseline is None else of_baseline - seconds
        rows.append(
            {
                "variant": each.candidate.variant,
                "states": dict(answer.states[each.candidate.variant]),
                "quality": interval(each.candidate.quality),
                "within_objective": interval(each.candidate.within),
                "cost_share": interval(each.candidate.cost),
                "engine_s": seconds,
                "saves_engine_s": saved,
                "cost": None if seconds is None or price is None else seconds / HOUR_S * price,
                "saves": None if saved is None or price is None else saved / HOUR_S * price,
                "bytes": each.bytes,
                "saves_bytes": None if each.bytes is None or baseline.bytes is None else baseline.bytes - each.bytes,
            }
        )
    return {
        "model": model, "floor": floor, "variant": answer.variant, "tied": list(answer.tied), "open": list(answer.open),
        "variants": rows,
    }  # fmt: skip


def interval(given: Interval | None) -> dict[str, float] | None:
    return None if given is None else {"value": given.value, "low": given.low, "high": given.high}


def describe(document: dict[str, Any], slo: str | None) -> str:
    """The recommendation, one line a variant, and what stays open."""
    asked = f"at least {share(document['floor'])} of the quality" + (f" and {slo} for 95 %" if slo else "")
    if document["variant"]:
        lines = [f"serve {document['model']}@{document['variant']}: of all that keep {asked}, it costs least"]
    elif document["tied"]:
        lines = [f"cannot tell: the costs of {' and '.join(document['tied'])} overlap; all keep {asked}"]
    else:
        lines = [f"cannot tell: no variant is proven to keep {asked}"]
    lines += [f"  {row_text(row)}" for row in document["variants"]]
    if document["open"]:
        known = document["variant"] or document["tied"]
        might = "fit and cost less" if known else "fit"
        lines.append(f"open: {', '.join(document['open'])} might {might}; more examples or requests would tell")
    return "\n".join(lines)


def row_text(row: dict[str, Any]) -> str:
    parts = [f"{name} {state}" for name, state in row["states"].items()]
    if row["quality"]:
        parts.append(f"quality {between(row['quality'])}")
    if row["within_objective"]:
        parts.append(f"in time {between(row['within_objective'])}")
    if row["engine_s"] is not None:
        cost = f"{row['engine_s']:.1f} engine-s for 1,000 requests"
        parts.append(cost + (f", {between(row['cost_share'])} of the baseline's" if row["cost_share"] else ""))
    if row["cost"] is not None:
        parts.append(f"price {row['cost']:.4f}, {row['saves']:.4f} saved")
    if row["bytes"] is not None:
        parts.append(size(row["bytes"]))
    return f"{row['variant']}: {'; '.join(parts)}"


def between(figure: dict[str, float]) -> str:
    if figure["low"] == figure["high"]:
        return share(figure["value"])
    return f"{share(figure['value'])} ({share(figure['low'])} to {share(figure['high'])})"


def with_rollout(stack: Stack, model: str, variant: str, floor: float) -> bytes:
    """The stack file in which the variant's parent has the model's traffic, and a declared rollout gives it to the
    variant. For the baseline itself there is only the weight."""
    document = stack.as_document()
    served = document["models"][model]
    parent = served["variants"][variant].get("parent")
    for name, each in served["variants"].items():
        each["weight"] = 100.0 if name == (parent or variant) else 0.0
    served.pop("rollout", None)
    if parent:
        served["rollout"] = {"variant": variant, "gate": {"quality": None, "floor": floor}}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
