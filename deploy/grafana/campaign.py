"""The *Campaign* dashboard: what a load campaign of the chosen time range did to a model.

Choose the range of the campaign: the table's figures are of the whole range, as a report's are. `understudy report` has
the exact ones, because it keeps each request's time; these come from histogram buckets."""

from deploy.grafana.panels import Line, Panel, chart, facts
from deploy.grafana.queries import BUCKETS, CHOSEN, FAILED, quantile_of, rate, share_right, some

REQUESTS = "understudy_requests_total"
LATENCY, FIRST = "understudy_request_seconds", "understudy_time_to_first_token_seconds"
LABELLED, SCORE = "understudy_labelled_requests_total", "understudy_labelled_score_total"
WHOLE = "$__range"
NO_LOAD = "No request in this time range: `understudy load CAMPAIGN` sends some"


def increase(metric: str, where: str = CHOSEN) -> str:
    return f"sum by (variant) (increase({metric}{{{where}}}[{WHOLE}]))"


def whole_range() -> list[Panel]:
    requests, failed = increase(REQUESTS), increase(REQUESTS, f"{CHOSEN},{FAILED}")
    columns = {
        "requests": (requests, "short"),
        "failed": (share_right(failed, requests), "percentunit"),
        "p50": (quantile_of(0.5, LATENCY, WHOLE), "s"),
        "p95": (quantile_of(0.95, LATENCY, WHOLE), "s"),
        "p99": (quantile_of(0.99, LATENCY, WHOLE), "s"),
        "first token p95": (quantile_of(0.95, FIRST, WHOLE), "s"),
        "tokens a second": (rate("understudy_output_tokens_total", "variant", over=WHOLE), "suffix: tokens/s"),
        "accuracy": (f"{increase(SCORE)} / {some(increase(LABELLED))}", "percentunit"),
        "labelled": (increase(LABELLED), "short"),
    }
    about = f"Each variant over the whole time range. {BUCKETS}"
    return [facts("The whole range", about, columns, ("variant",))]


def throughput() -> list[Panel]:
    return [
        chart(
            "Completed requests", "reqps", "Requests a second that ended, answered or failed.",
            Line(rate(REQUESTS, "variant")), span=12, empty=NO_LOAD,
        ),
        chart(
            "Tokens in answers", "suffix: tokens/s", "Tokens a second in answers.",
            Line(rate("understudy_output_tokens_total", "variant")), span=12, empty=NO_LOAD,
        ),
    ]  # fmt: skip


def latency() -> list[Panel]:
    spread = [Line(quantile_of(share, LATENCY), f"{{{{variant}}}} p{share * 100:g}") for share in (0.5, 0.95, 0.99)]
    first = [Line(quantile_of(share, FIRST), f"{{{{variant}}}} p{share * 100:g}") for share in (0.5, 0.95)]
    about = "Arrival at the ingress to"
    return [
        chart("Latency by quantile", "s", f"{about} the last byte. {BUCKETS}", *spread, span=12, empty=NO_LOAD),
        chart("First token by quantile", "s", f"{about} the first token. {BUCKETS}", *first, span=12, empty=NO_LOAD),
    ]


def results() -> list[Panel]:
    failed, total = rate(REQUESTS, "variant", f"{CHOSEN},{FAILED}"), rate(REQUESTS, "variant")
    score, labelled = rate(SCORE, "variant", over="5m"), rate(LABELLED, "variant", over="5m")
    waiting = f"sum by (variant) (understudy_queued_requests{{{CHOSEN}}})"
    return [
        chart(
            "Errors", "percentunit", "The share of requests that ended with status 400 or above.",
            Line(share_right(failed, total)), most=1, empty=NO_LOAD,
        ),
        chart(
            "Accuracy by variant", "percentunit",
            "Mean outcome of labelled requests of the last five minutes. A report has an interval.",
            Line(f"{score} / {some(labelled)}"), most=1, empty="No labelled request in this time range",
        ),
        chart("Queue", "short", "Requests that wait: where the queue grows, the load is above what is served.",
              Line(waiting), empty=NO_LOAD),
    ]  # fmt: skip


def rows() -> dict[str, list[Panel]]:
    return {"Figures": whole_range(), "Throughput": throughput(), "Latency": latency(), "Results": results()}
