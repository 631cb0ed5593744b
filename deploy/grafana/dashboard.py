"""The *Variants* dashboard: compares the variants of a model by the metrics of `/metrics`.

To import it by hand: in Grafana choose Dashboards, New, Import, upload `deploy/grafana/dashboards/variants.json`, and
choose the Prometheus. To let Grafana load it when it starts:

    export GF_PATHS_PROVISIONING=$PWD/deploy/grafana/provisioning UNDERSTUDY_PROMETHEUS=http://127.0.0.1:9090
    export UNDERSTUDY_DASHBOARDS=$PWD/deploy/grafana/dashboards GF_SERVER_HTTP_ADDR=127.0.0.1

`python -m deploy.grafana.dashboard` writes the JSON again. One test compares the JSON with this module; another runs
every query against a real Prometheus. A panel has one line for each variant, never one for each replica."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.check import DASHBOARD
from deploy.grafana.panels import SOURCE, Line, chart, facts, states

Panel = timeseries.Panel | statetimeline.Panel | table.Panel

MODEL = 'model="$model"'
CHOSEN = f'{MODEL},variant=~"$variant"'
FAILED = 'status=~"[45].."'
BUCKETS = "The value is estimated from histogram buckets that double in size. For exact figures use the load report."


def rate(metric: str, by: str, where: str = CHOSEN) -> str:
    """Events a second, summed over all labels but those in `by`."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def quantile(share: float, metric: str) -> Line:
    return Line(f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'variant, le')})")


def share_right(right: str, all_of_them: str) -> str:
    """A share that is 0 instead of absent while its numerator has no series yet."""
    return f"({right} or 0 * {all_of_them}) / {all_of_them}"


def or_none(events: str, zero: str) -> str:
    """Events by status, with a line *none* at `zero`, so that a server without errors differs from one without data."""
    return f'{events} or label_replace({zero}, "status", "none", "", "")'


def traffic() -> list[Panel]:
    requests = "understudy_requests_total"
    return [
        chart(
            "Traffic share by reason", "percentunit",
            "The share of the model's requests that each variant got, by reason. A request is routed by weight, sticky "
            "to the client's earlier variant, or pinned by the client. A fallback replaces a variant that was down.",
            Line(
                f"{rate(requests, 'variant, reason')} / on () group_left () "
                f"sum(rate({requests}{{{MODEL}}}[$__rate_interval]))",
                "{{variant}} {{reason}}",
            ),
            most=1, stacked=True,
        ),
        chart("Requests", "reqps", "Requests a second, answered and failed.", Line(rate(requests, "variant"))),
        chart(
            "Output tokens", "suffix: tokens/s",
            "Tokens a second, including those of interrupted streams. It follows the traffic of a variant, and does "
            "not show its speed.",
            Line(rate("understudy_output_tokens_total", "variant")),
        ),
    ]  # fmt: skip


def latency() -> list[Panel]:
    whole = "understudy_request_seconds"
    about = "Time from arrival to the last byte. Answered and timed-out requests count; rejected requests do not."
    return [
        chart(f"Latency p{percent}", "s", f"{about} {BUCKETS}", quantile(percent / 100, whole))
        for percent in (50, 95, 99)
    ]


def streaming() -> list[Panel]:
    first, each = "understudy_time_to_first_token_seconds", "understudy_time_per_output_token_seconds"
    about_first = f"Streamed requests: time from arrival at the ingress to the first token, with the queue. {BUCKETS}"
    about_each = "Streamed requests: mean time per token of a request, without the first token."
    return [
        chart("Time to first token p50", "s", about_first, quantile(0.5, first), span=6),
        chart("Time to first token p95", "s", about_first, quantile(0.95, first), span=6),
        chart("Time per output token p50", "s", about_each, quantile(0.5, each), span=6),
        chart("Time per output token p95", "s", about_each, quantile(0.95, each), span=6),
    ]


def faults() -> list[Panel]:
    requests = "understudy_requests_total"
    failed, all_of_them = rate(requests, "variant", f"{CHOSEN},{FAILED}"), rate(requests, "variant")
    return [
        chart(
            "Failed share", "percentunit",
            "The share of a variant's requests that ended with status 400 or above. Status 499: the client left.",
            Line(share_right(failed, all_of_them)), most=1,
        ),
        chart(
            "Failed by status", "reqps", "Failed requests a second, by status.",
            Line(
                or_none(rate(requests, "variant, status", f"{CHOSEN},{FAILED}"), f"0 * {rate(requests, 'variant')}"),
                "{{variant}} {{status}}",
            ),
        ),
        chart(
            "Refused before a variant was chosen", "reqps",
            "Rejected requests a second of the whole server, for all models. For example the body is not JSON, the "
            "model is unknown, or no variant is ready.",
            Line(
                or_none("sum by (status) (rate(understudy_errors_total[$__rate_interval]))", "vector(0)"), "{{status}}"
            ),
        ),
    ]  # fmt: skip


def accuracy() -> list[Panel]:
    labelled = "understudy_labelled_requests_total"
    right = f'{CHOSEN},outcome="right"'

    def recent(where: str) -> str:
        return f"sum by (variant, task) (increase({labelled}{{{where}}}[15m]))"

    def ever(where: str) -> str:
        return f"sum by (variant, task) ({labelled}{{{where}}})"

    return [
        chart(
            "Accuracy of labelled requests, last 15 minutes", "percentunit",
            "The share of right answers to requests with a label in x-understudy-label. Cards use the same scorer.",
            Line(share_right(recent(right), recent(CHOSEN)), "{{variant}} {{task}}"), span=12, most=1,
        ),
        facts(
            "Accuracy of labelled requests since the server started",
            "n counts requests, also repeated ones and those to earlier builds. So no interval follows from it.",
            {
                "accuracy": (share_right(ever(right), ever(CHOSEN)), "percentunit"),
                "n": (ever(CHOSEN), "short"),
            },
            ("variant", "task"), span=12,
        ),
    ]  # fmt: skip


def engines() -> list[Panel]:
    memory, peak = "understudy_engine_memory_bytes", "understudy_engine_peak_memory_bytes"
    return [
        chart(
            "At the engine and waiting", "short", "Requests wait while a variant's concurrency is used up.",
            Line(f"sum by (variant) (understudy_running_requests{{{CHOSEN}}})", "{{variant}} running"),
            Line(f"sum by (variant) (understudy_queued_requests{{{CHOSEN}}})", "{{variant}} waiting"),
        ),
        chart(
            "Engine memory", "bytes", "PSS of the engine's processes: shared pages are divided among their users.",
            Line(f"max by (variant) ({memory}{{{CHOSEN}}})"),
            Line(f"max by (variant) ({peak}{{{CHOSEN}}})", "{{variant}} peak"),
        ),
        states(
            "Ready", "Whether the variant answers. In a gap the server itself did not answer.",
            Line(f"min by (variant) (understudy_variant_ready{{{CHOSEN}}})"),
            {0: ("not ready", "red"), 1: ("ready", "green")},
        ),
    ]  # fmt: skip


def identities() -> list[Panel]:
    about = ("variant", "parent", "method", "precision", "engine", "artifact")
    info = f"max by ({', '.join(about)}) (understudy_variant_info{{{CHOSEN}}})"
    weight = f"max by (variant) (understudy_variant_weight{{{CHOSEN}}})"
    return [
        facts(
            "What each variant is",
            "Requests are routed in proportion to the weights. A variant has two rows while two builds of it are live.",
            {"weight": (f"{info} * on (variant) group_left () {weight}", "short")},
            about,
        )
    ]


def build() -> models.Dashboard:
    """The whole dashboard, with its panels numbered in reading order."""
    dashboard = (
        builders.Dashboard("Understudy: variants")
        .uid("understudy-variants").tags(["understudy"]).time("now-30m", "now").refresh("10s").timezone("browser")
        .description("Compares the variants of one model: traffic, speed, failures, accuracy, memory.")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(variables())
    )  # fmt: skip
    rows = {
        "Traffic": traffic(), "Latency": latency(), "Streamed text": streaming(), "Failures": faults(),
        "Accuracy": accuracy(), "Engines": engines(), "What is served": identities(),
    }  # fmt: skip
    number = 0
    for title, panels in rows.items():
        number += 1
        dashboard.with_row(builders.Row(title).id(number))
        for panel in panels:
            number += 1
            dashboard.with_panel(panel.id(number))
    return dashboard.build()


def variables() -> list[Builder[models.VariableModel]]:
    """The Prometheus, one of its models, and any of the model's variants."""
    model = builders.QueryVariable("model").label("Model").query("label_values(understudy_variant_info, model)")
    variant = (
        builders.QueryVariable("variant").label("Variants")
        .query(f"label_values(understudy_variant_info{{{MODEL}}}, variant)")
        .multi(True).include_all(True).all_value(".*")
        .current(models.VariableOption(text=["All"], value=["$__all"]))
    )  # fmt: skip
    for variable in (model, variant):
        variable.datasource(SOURCE).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        variable.sort(models.VariableSort.ALPHABETICAL_ASC)
    return [builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"), model, variant]


def to_json() -> str:
    return JSONEncoder(indent=2, sort_keys=True).encode(build()) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(to_json())
