"""The *Rollout* dashboard: the evidence of a rollout beside its limits, and what became of the sampled requests.

Verdicts are annotations: a band over every chart while the gate says so, named by its decision."""

from deploy.grafana.panels import Line, Panel, chart, states
from deploy.grafana.queries import CHOSEN, MODEL, rate, share_right, some

NO_ROLLOUT = "No rollout of this model in this time range: `understudy rollout start MODEL VARIANT` begins one"
BOUND = "understudy_rollout_bound"
REQUESTS = "understudy_requests_total"
ROUTED = 'reason=~"weight|sticky"'
DECISIONS = {"promote": "green", "inconclusive": "yellow", "roll back": "red"}
"""By decision: the colour of its band."""
STATUSES = {
    1: ("running", "blue"), 2: ("paused", "yellow"), 3: ("promoted", "green"), 4: ("rolled back", "red"),
    5: ("undecided", "orange"), 6: ("aborted", "purple"),
}  # fmt: skip


def annotations() -> dict[str, tuple[str, str]]:
    """By name: the query of the times at which the verdict is that, and the colour."""
    verdict = "understudy_rollout_verdict"
    return {
        f"Verdict: {decision}": (f'max by (variant) ({verdict}{{{CHOSEN},decision="{decision}"}}) == 1', colour)
        for decision, colour in DECISIONS.items()
    }


def status() -> list[Panel]:
    numbered = " or ".join(
        f'max by (variant) (understudy_rollout_status{{{CHOSEN},status="{text}"}} == 1) * {number}'
        for number, (text, _) in STATUSES.items()
    )
    return [
        states("Status", "The status of the model's latest rollout.", Line(numbered), STATUSES, 12, NO_ROLLOUT),
        chart(
            "Weights", "short", "Requests are routed in proportion to the weights.",
            Line(f"max by (variant) (understudy_variant_weight{{{CHOSEN}}})"), span=12,
        ),
    ]  # fmt: skip


def bounds() -> list[Panel]:
    """Low, mean, high and limit of each metric, on its own scale: differences may be negative, shares may not."""

    def lines(name: str) -> Line:
        where = f'{CHOSEN},metric="{name}"'
        return Line(f"max by (variant, bound) ({BOUND}{{{where}}})", "{{variant}} {{bound}}")

    others = f'{CHOSEN},metric!~"quality|agreement|errors"'

    both = (
        "The rollout needs the bounds on the right side of the limit. They hold at every look (a confidence sequence)."
    )
    return [
        chart(
            "Quality against its limit", "percentunit",
            f"Mean difference of correctness, variant minus parent, on the same labelled requests. {both}",
            lines("quality"), span=12, least=None, empty=NO_ROLLOUT,
        ),
        chart(
            "Agreement against its limit", "percentunit",
            f"Mean difference of the agreement with the parent's answers, variant minus parent. {both}",
            lines("agreement"), span=12, least=None, empty="The gate of this rollout does not compare agreement",
        ),
        chart("Errors against their limit", "percentunit", f"The share of failed requests. {both}", lines("errors"),
              span=12, empty=NO_ROLLOUT),
        chart(
            "Other metrics against their limits", "percentunit",
            "Mean differences of preference and of the floor, the share of requests within the latency objective, and "
            f"the mean score of feedback. {both}",
            Line(f"max by (variant, metric, bound) ({BOUND}{{{others}}})", "{{variant}} {{metric}} {{bound}}"),
            span=12, least=None,
            empty="The gate of this rollout does not compare preference, floor, latency or feedback",
        ),
    ]  # fmt: skip


def pairs() -> list[Panel]:
    outcomes = "understudy_shadow_pairs_total"
    return [
        chart(
            "Pairs compared", "short", "Requests that both variants answered and that count in the rollout.",
            Line(f"max by (variant) (understudy_rollout_pairs{{{CHOSEN}}})"), empty=NO_ROLLOUT,
        ),
        chart(
            "Sampled requests by result", "suffix: requests/s",
            "What became of the sampled requests: compared, failed (the variant did not answer), lost, withdrawn, or "
            "dropped because replays waited too long.",
            Line(rate(outcomes, "variant, outcome"), "{{variant}} {{outcome}}"), empty=NO_ROLLOUT,
        ),
        chart(
            "Replays that wait", "short", "Sampled requests whose replay waits for low load. 256 wait at most.",
            Line(f"sum by (variant) (understudy_shadow_waiting{{{CHOSEN}}})"), empty=NO_ROLLOUT,
        ),
    ]  # fmt: skip


def coverage() -> list[Panel]:
    asked = "understudy_shadow_requests_total"
    comparable = rate(asked, "variant", f'{CHOSEN},why="comparable"')
    routed = f"sum(rate({REQUESTS}{{{MODEL},{ROUTED}}}[$__rate_interval]))"
    weights = f"sum(max by (variant) (understudy_variant_weight{{{MODEL}}}))"
    return [
        chart(
            "Coverage", "percentunit",
            "The share of the requests that could be compared. The rest is told by reason beside it.",
            Line(share_right(comparable, rate(asked, "variant"))), most=1, empty=NO_ROLLOUT,
        ),
        chart(
            "Requests by comparability", "reqps", "Requests that a replay could have sampled, and why not.",
            Line(rate(asked, "variant, why"), "{{variant}} {{why}}"), empty=NO_ROLLOUT,
        ),
        chart(
            "Share of routed requests against the weight", "percentunit",
            "Routed by weight or sticky, without pinned requests. A lasting gap is a sample ratio mismatch; a sticky "
            "client may weigh more than others.",
            Line(
                f"{rate(REQUESTS, 'variant', f'{CHOSEN},{ROUTED}')} / on () group_left () "
                f"{some(routed)}",
                "{{variant}} routed",
            ),
            Line(
                f"max by (variant) (understudy_variant_weight{{{CHOSEN}}}) / on () group_left () {some(weights)}",
                "{{variant}} weight",
            ),
            most=1,
        ),
        states(
            "Sample ratio", "Whether clients are assigned as the weights say. A broken ratio holds the rollout.",
            Line(f"max by (variant) (understudy_rollout_ratio_broken{{{CHOSEN}}})"),
            {0: ("as the weights say", "green"), 1: ("broken", "red")}, 12, NO_ROLLOUT,
        ),
        chart(
            "Agreement with the parent", "percentunit",
            "Median agreement of the variant with the parent's answer, and of the parent when asked again (its own "
            "noise). Estimated from histogram buckets.",
            Line(
                f"histogram_quantile(0.5, {rate('understudy_shadow_agreement_bucket', 'variant, of, le')})",
                "{{variant}} {{of}}",
            ),
            span=12, most=1, empty=NO_ROLLOUT,
        ),
    ]  # fmt: skip


def rows() -> dict[str, list[Panel]]:
    return {
        "Status and traffic": status(), "Bounds against limits": bounds(), "Pairs and replays": pairs(),
        "Coverage and sample ratio": coverage(),
    }  # fmt: skip
