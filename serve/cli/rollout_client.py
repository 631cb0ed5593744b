"""`understudy traffic` and `understudy rollout`: what the command line asks of a running server, and how it says what
came of it."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from serve.cli.admin_client import ask
from variants.errors import InputError

WATCH_S = 1.0


def path_of(model: str, what: str) -> str:
    return f"/admin/v1/models/{model}/{what}"


def read_traffic(target: str, model: str) -> dict[str, Any]:
    return ask(target, "GET", path_of(model, "traffic"))


def change_traffic(target: str, model: str, changes: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Change parts of a model's traffic, the rest as it is. Raises Stale where somebody else changed it meanwhile."""
    found = read_traffic(target, model)
    traffic = dict(found["traffic"])
    for name, change in changes.items():
        traffic[name] = {**traffic[name], **change} if isinstance(change, dict) else change
    for name in ("pins", "shadows"):
        traffic[name] = {key: value for key, value in traffic[name].items() if value not in ("", 0)}
    headers = {"if-match": f'"{found["version"]}"'}
    return ask(target, "PUT", path_of(model, "traffic"), {**traffic, "why": why}, headers)


def read_pairs(text: str | None, option: str, numbers: bool = True) -> dict[str, Any]:
    """`int8=10,baseline=90` as a mapping. Raises InputError naming the option."""
    found: dict[str, Any] = {}
    for part in (text or "").split(","):
        if not part:
            continue
        name, equals, value = part.rpartition("=")
        try:
            found[name] = float(value) if numbers else value
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"{part!r} is no name=value", field=option, mend="for example int8=10,baseline=90")
    return found


def read_latency(text: str | None) -> dict[str, float] | None:
    """`2.5:0.95` as an objective in seconds and a share. Raises InputError."""
    if text is None:
        return None
    try:
        objective, share = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"{text!r} is no SECONDS:SHARE", field="--latency", mend="for example 2.5:0.95") from None
    return {"objective_s": objective, "share": share}


def begin_rollout(target: str, model: str, plan: dict[str, Any]) -> dict[str, Any]:
    return ask(target, "POST", path_of(model, "rollout"), plan)


def read_rollout(target: str, model: str) -> dict[str, Any]:
    return ask(target, "GET", path_of(model, "rollout"))


def steer_rollout(target: str, model: str, action: str) -> dict[str, Any]:
    return ask(target, "POST", path_of(model, f"rollout/{action}"), {})


def watch_rollout(target: str, model: str) -> Iterator[dict[str, Any]]:
    """What is known, every second, until the rollout has ended; a search goes on with what is in its queue."""
    while True:
        found = read_rollout(target, model)
        yield found
        rollout = found["rollout"]
        going_on = ("running", "paused", "rolled back") if rollout and rollout["queue"] else ("running", "paused")
        if rollout is None or rollout["status"] not in going_on:
            return
        time.sleep(WATCH_S)


def describe_traffic(found: dict[str, Any]) -> str:
    traffic = found["traffic"]
    lines = [
        f"{found['model']}  traffic version {found['version']}{'' if traffic['sticky'] else ', clients do not stick'}"
    ]
    for variant, share in found["shares"].items():
        shadow = traffic["shadows"].get(variant)
        compared = f"   compares {shadow:.0%} of requests" if shadow else ""
        lines.append(f"  {variant:16}{share:7.1%}{compared}")
    lines += [f"  client {client} is pinned to {variant}" for client, variant in traffic["pins"].items()]
    return "\n".join(lines)


def describe_rollout(found: dict[str, Any]) -> str:
    """One screen: where it stands, what is known of each metric, what is missing."""
    rollout = found["rollout"]
    if rollout is None:
        return f"no rollout of {found['model']} yet"
    steps = " -> ".join(
        f"[{step}]" if number == rollout["step"] else str(step) for number, step in enumerate(rollout["plan"]["steps"])
    )
    lines = [
        f"{found['model']}  {rollout['parent']} -> {rollout['plan']['variant']}  {rollout['status']}  {steps}",
        f"  {rollout['why']}",
        f"  {'metric':11}{'n':>8}{'mean':>10}{'low':>10}{'high':>10}{'limit':>9}",
    ]
    for each in found["verdict"]["findings"]:
        mean = f"{each['value']:.4f}" if each["value"] is not None else "-"
        lines.append(
            f"  {each['metric']:11}{each['n']:>8}{mean:>10}{each['low']:>10.4f}{each['high']:>10.4f}"
            f"{each['limit']:>9.3f}  {each['state']}"
        )
    pairs = found["pairs"]
    nothing = f", {pairs['unjudged']} with nothing to compare" if pairs["unjudged"] else ""
    lines.append(
        f"  shadow pairs: {pairs['chosen']} chosen, {pairs['compared']} compared, {pairs['dropped']} dropped{nothing}"
    )
    lines.append(f"  verdict: {found['verdict']['decision']}")
    lines += [f"    {missing}" for missing in found["verdict"]["missing"]]
    return "\n".join(lines)
