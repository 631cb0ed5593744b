"""The *Capacity* dashboard: how full the engines are, and how much of the objectives' error budget is spent."""

from deploy.grafana.panels import Line, Panel, chart, facts
from deploy.grafana.queries import CHOSEN, MODEL, or_none, rate, share_right, some

REQUESTS = "understudy_requests_total"
NO_FIGURES = "Nothing in this time range: of the engines, only vLLM tells this"


def queues() -> list[Panel]:
    running, waiting = "understudy_running_requests", "understudy_queued_requests"
    return [
        chart(
            "In flight", "short", "Requests at each engine. The stack file's limits.concurrency bounds them.",
            Line(f"sum by (variant) ({running}{{{CHOSEN}}})"),
        ),
        chart(
            "Waiting", "short", "Requests in each queue. The stack file's limits.queue bounds them; then 429 follows.",
            Line(f"sum by (variant) ({waiting}{{{CHOSEN}}})"),
        ),
        chart(
            "Refused for a full queue", "reqps", "Requests a second that ended with 429.",
            Line(share_of_zero(rate(REQUESTS, "variant", f'{CHOSEN},status="429"'), rate(REQUESTS, "variant"))),
        ),
    ]  # fmt: skip


def share_of_zero(events: str, all_of_them: str) -> str:
    """Events that are 0 instead of absent while they have no series yet."""
    return f"{events} or 0 * {all_of_them}"


def work() -> list[Panel]:
    seconds = "understudy_request_seconds_sum"
    return [
        chart(
            "Request seconds a second", "short",
            "Seconds of requests, from arrival to the last byte, that end in a second: the mean number of requests in "
            "the server (Little's law).",
            Line(rate(seconds, "variant")),
        ),
        chart(
            "Prompt tokens", "suffix: tokens/s", "Tokens a second in the prompts of completed requests.",
            Line(rate("understudy_prompt_tokens_total", "variant")),
        ),
        chart(
            "Tokens written", "suffix: tokens/s", "Tokens a second in answers, incomplete streams included.",
            Line(rate("understudy_output_tokens_total", "variant")),
        ),
    ]  # fmt: skip


def inside() -> list[Panel]:
    """What vLLM knows of itself."""
    running, waiting = "understudy_engine_requests_running", "understudy_engine_requests_waiting"
    prefix = "understudy_engine_prefix_cache"
    hit, queried = f"{prefix}_hit_tokens_total", f"{prefix}_query_tokens_total"
    steps = "understudy_engine_step_tokens"
    return [
        chart(
            "Key-value cache in use", "percentunit",
            "The share of each engine's key-value cache that running requests fill. At 1 the engine stops some and "
            "computes them again later.",
            Line(f"max by (variant) (understudy_engine_kv_cache_usage_ratio{{{CHOSEN}}})"),
            span=6, most=1, empty=NO_FIGURES,
        ),
        chart(
            "Inside the engine", "short",
            "Requests that each engine computes at once, and those that wait inside it because its cache or its batch "
            "is full. The server's own queue comes before.",
            Line(f"max by (variant) ({running}{{{CHOSEN}}})", "{{variant}} running"),
            Line(f"max by (variant) ({waiting}{{{CHOSEN}}})", "{{variant}} waiting"),
            span=6, empty=NO_FIGURES,
        ),
        chart(
            "Prefix cache hits", "percentunit",
            "The share of the tokens of prompts that each engine had computed before and found in its cache.",
            Line(share_right(rate(hit, "variant"), rate(queried, "variant"))), span=6, most=1, empty=NO_FIGURES,
        ),
        chart(
            "Tokens in a step", "suffix: tokens",
            "The mean number of tokens, of prompts and answers, that one step of the model computes: the batch.",
            Line(f"{rate(f'{steps}_sum', 'variant')} / {some(rate(f'{steps}_count', 'variant'))}"),
            span=6, empty=NO_FIGURES,
        ),
    ]  # fmt: skip


def memory() -> list[Panel]:
    return [
        chart(
            "Memory of the engines", "bytes", "PSS of each engine's processes, stacked: what the models hold together.",
            Line(f"max by (variant) (understudy_engine_memory_bytes{{{CHOSEN}}})"), stacked=True,
        ),
        chart(
            "Engine restarts", "short", "Starts of each engine beyond the first, since it was deployed.",
            Line(f"max by (variant) (understudy_engine_restarts{{{CHOSEN}}})"),
        ),
        chart(
            "Disk of the journal", "bytes", "Free space on the disk of the journal, and the journal's own size.",
            Line("min by (job) (understudy_state_free_bytes)", "{{job}} free"),
            Line("max by (job) (understudy_journal_bytes)", "{{job}} journal"),
        ),
    ]  # fmt: skip


def objectives() -> list[Panel]:
    """The budget is what the objective allows to fail: 1 minus `availability`."""
    failed = f'sum by (model) (increase({REQUESTS}{{{MODEL},status=~"5..|429"}}[1h]))'
    answered = f"sum by (model) (increase({REQUESTS}{{{MODEL}}}[1h]))"
    allowed = f'(1 - max by (model) (understudy_objective{{{MODEL},objective="availability"}}))'
    return [
        chart(
            "Error budget's burn rate, last hour", "suffix: times",
            "The share of requests that the server failed (5xx, and 429), divided by the share that the objective "
            "allows. At 1 the budget lasts exactly its period; alerts fire at 14.4.",
            Line(f"({share_right(failed, answered)}) / {allowed}", "{{model}}"), span=12,
        ),
        facts(
            "Each objective", "Least availability, and longest time to first token where the stack file names one.",
            {"objective": (f"max by (model, objective) (understudy_objective{{{MODEL}}})", "short")},
            ("model", "objective"), span=12,
        ),
    ]  # fmt: skip


def refused() -> list[Panel]:
    return [
        chart(
            "Refused at the door", "reqps", "Requests a second of the whole server that no variant got, by status.",
            Line(
                or_none("sum by (status) (rate(understudy_errors_total[$__rate_interval]))", "vector(0)"), "{{status}}"
            ),
            span=24,
        )
    ]  # fmt: skip


def rows() -> dict[str, list[Panel]]:
    return {
        "Queues": queues(), "Work": work(), "Inside vLLM": inside(), "Memory and disk": memory(),
        "Objectives": objectives(), "Refused": refused(),
    }  # fmt: skip
