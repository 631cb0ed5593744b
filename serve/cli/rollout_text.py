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
        *(("  A/A: the parent is compared with itself, and no traffic moves",) if rollout["plan"].get("aa") else ()),
        f"  {'metric':11}{'n':>8}{'mean':>10}{'low':>10}{'high':>10}{'limit':>9}",
    ]
    for each in answer["verdict"]["findings"]:
        mean = f"{each['value']:.4f}" if each["value"] is not None else "-"
        lines.append(
            f"  {each['metric']:11}{each['n']:>8}{mean:>10}{each['low']:>10.4f}{each['high']:>10.4f}"
            f"{each['limit']:>9.3f}  {each['state']}"
        )
    pairs, lost = answer["pairs"], sum(answer["pairs"]["lost"].values())
    skipped = f", {pairs['skipped']} without time" if pairs["skipped"] else ""
    over = f", {pairs['over_share']} above their client's share" if pairs["over_share"] else ""
    lines.append(
        f"  shadow pairs: {pairs['chosen']} chosen, {pairs['compared']} compared, {lost} lost and counted at worst"
        f"{skipped}{over}"
    )
    lines += [f"    lost: {number} {reason}" for reason, number in sorted(pairs["lost"].items())]
    lines += describe_coverage(answer)
    lines += describe_opinions(answer.get("opinions") or {})
    lines += describe_card(answer["card"])
    lines += describe_rivals(answer.get("rivals") or {})
    for each in answer["verdict"]["segments"][:1]:
        interval = f"{each['value']:+.3f} ({each['low']:+.3f} to {each['high']:+.3f}, n {each['n']})"
        lines.append(f"  worst segment: {each['name']} {interval}")
    attempt = answer["attempt"]
    if attempt["number"] > 1:
        lines.append(
            f"  rollout {attempt['number']} of this variant: alpha to promote is {attempt['alpha_to_promote']:.2g}"
        )
    if not answer.get("on_disk", True):
        lines.append("  the disk is full: this is in effect, and is written when there is room")
    lines.append(f"  verdict: {answer['verdict']['decision']}")
    lines += [f"    harm: {harm}" for harm in answer["verdict"]["harm"]]
    lines += [f"    {missing}" for missing in answer["verdict"]["missing"]]
    return "\n".join(lines)


def describe_coverage(answer: dict[str, Any]) -> list[str]:
    """Which share of the requests can be compared at all, and why the others cannot."""
    lines, coverage, routed = [], answer["coverage"], answer["routed"]
    if coverage["seen"]:
        lines.append(f"  coverage: {coverage['share']:.1%} of {coverage['seen']} requests can be compared")
        reasons = sorted(coverage["incomparable"].items(), key=lambda each: -each[1])
        lines += [f"    not compared: {number} {reason}" for reason, number in reasons]
    if routed["not_served"]:
        lines.append(f"  share not served: {routed['share_not_served']:.1%} of {routed['requests']} requests")
    return lines


def describe_opinions(opinions: dict[str, Any]) -> list[str]:
    """How many answers differ, who said which are better, and how far the judge agrees with labels."""
    if not opinions.get("differing"):
        return []
    given = ", ".join(f"{count} by {who}" for who, count in opinions["by"].items()) or "none judged"
    lines = [
        f"  answers differ in {opinions['differing']} pairs of {opinions['equal'] + opinions['differing']}: {given}"
    ]
    agreed, asked = opinions["judge"]["agreed"], sum(opinions["judge"].values())
    if asked:
        lines.append(f"  the judge agrees with the label in {agreed} of {asked} labelled pairs whose answers differ")
    elif opinions["by"].get("judge"):
        lines.append("  the judge's agreement with labels is unknown: no labelled pair's answers differ")
    return lines


def describe_rivals(rivals: dict[str, Any]) -> list[str]:
    """The other candidates of a search, which are compared on the same requests."""
    lines = []
    for name, metrics in rivals.items():
        for metric, told in metrics.items():
            mean = "-" if told["value"] is None else f"{told['value']:+.4f} ({told['low']:+.4f} to {told['high']:+.4f})"
            lines.append(f"  next, on the same requests: {name} {metric} {mean}, n {told['n']}, {told['state']}")
    return lines


def describe_card(card: dict[str, Any]) -> list[str]:
    """The card's difference beside the live one."""
    told = card["difference"]
    if told is None:
        return []
    line = f"  card: {told['value']:+.3f} ({told['low']:+.3f} to {told['high']:+.3f}, n {told['n']}, {told['task']})"
    if card["live"]:
        line += f"; live: {card['live']['value']:+.3f} ({card['live']['low']:+.3f} to {card['live']['high']:+.3f})"
    return [line + ("; they contradict each other" if card["contradicts"] else "")]
