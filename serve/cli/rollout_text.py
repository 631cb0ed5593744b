"""What `understudy traffic` and `understudy rollout` print of a server's answers."""

from typing import Any


def describe_traffic(answer: dict[str, Any]) -> str:
    traffic = answer["traffic"]
    sticky = "" if traffic["sticky"] else ", clients do not stick"
    lines = [f"{answer['model']}  traffic version {answer['version']}{sticky}"]
    for variant, share in answer["shares"].items():
        shadow = traffic["shadows"].get(variant)
        compared = f"   compares {shadow:.0%} of requests" if shadow else ""
        lines.append(f"  {variant:16}{share:7.1%}{compared}")
    lines += [f"  client {client} is pinned to {variant}" for client, variant in traffic["pins"].items()]
    return "\n".join(lines)


def describe_rollout(answer: dict[str, Any]) -> str:
    """One screen: the step, the evidence of each metric, and what is missing for a verdict."""
    rollout = answer["rollout"]
    if rollout is None:
        return f"no rollout of {answer['model']} yet"
    steps = " -> ".join(
        f"[{step}]" if number == rollout["step"] else str(step) for number, step in enumerate(rollout["plan"]["steps"])
    )
    lines = [
        f"{answer['model']}  {rollout['parent']} -> {rollout['plan']['variant']}  {rollout['status']}  {steps}",
        f"  {rollout['why']}",
        f"  {'metric':11}{'n':>8}{'mean':>10}{'low':>10}{'high':>10}{'limit':>9}",
    ]
    for each in answer["verdict"]["findings"]:
        mean = f"{each['value']:.4f}" if each["value"] is not None else "-"
        lines.append(
            f"  {each['metric']:11}{each['n']:>8}{mean:>10}{each['low']:>10.4f}{each['high']:>10.4f}"
            f"{each['limit']:>9.3f}  {each['state']}"
        )
    pairs = answer["pairs"]
    nothing = f", {pairs['unjudged']} with nothing to compare" if pairs["unjudged"] else ""
    lines.append(
        f"  shadow pairs: {pairs['chosen']} chosen, {pairs['compared']} compared, {pairs['dropped']} dropped{nothing}"
    )
    routed = answer["routed"]
    if routed["not_served"]:
        lines.append(f"  share not served: {routed['share_not_served']:.1%} of {routed['requests']} requests")
    if not answer.get("on_disk", True):
        lines.append("  the disk is full: this is in effect, and is written when there is room")
    lines.append(f"  verdict: {answer['verdict']['decision']}")
    lines += [f"    {missing}" for missing in answer["verdict"]["missing"]]
    return "\n".join(lines)
