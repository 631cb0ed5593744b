"""The *Variants* dashboard: compares the variants of a model by the metrics of `/metrics`.

A panel has one line for each variant, never one for each replica."""

from deploy.grafana.panels import Line, Panel, chart, facts, states
from deploy.grafana.queries import BUCKETS, CHOSEN, FAILED, MODEL, or_none, quantile, rate, share_right, some


def traffic() -> list[Panel]:
    requests = "understudy_requests_total"
    of_model = f"sum(rate({requests}{{{MODEL}}}[$__rate_interval]))"
    return [
        chart(
            "Traffic share by reason", "percentunit",
            "The share of the model's requests that each variant got, by reason. A request is routed by weight, sticky "
            "to the client's earlier variant, or pinned by the client. A fallback replaces a variant that was down.",
            Line(
                f"{rate(requests, 'variant, reason')} / on () group_left () "
                f"{some(of_model)}",
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


def rows() -> dict[str, list[Panel]]:
    return {
        "Traffic": traffic(), "Latency": latency(), "Streamed text": streaming(), "Failures": faults(),
        "Accuracy": accuracy(), "Engines": engines(), "What is served": identities(),
    }  # fmt: skip
