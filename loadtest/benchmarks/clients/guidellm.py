"""guidellm: `guidellm run` against one variant, with texts that it makes itself from a local tokenizer."""

import json
from collections.abc import Callable
from typing import Any

from loadtest.benchmarks.clients.client import Call, Client, WrongAnswer
from variants.artifacts.manifest import TaskKind

REQUESTS, PROMPT_TOKENS, OUTPUT_TOKENS = 6, 32, 16
REPORT = "report.json"


def command(path: str) -> Callable[[Call], list[str]]:
    """The command line: two clients at a time that ask at the server's `path`."""

    def of(call: Call) -> list[str]:
        target = f"target={call.url},model={call.served.name},request_format={path}"
        return [
            str(call.programs / "guidellm"), "run",
            "--backend", f"kind=openai_http,{target}",
            "--profile", "kind=concurrent,streams=2",
            "--constraint", f"kind=max_requests,count={REQUESTS}",
            "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={OUTPUT_TOKENS}",
            "--tokenizer", f"kind=huggingface_auto,model={call.served.tokenizer}",
            "--output", f"kind=json,path={call.folder / REPORT}",
            "--disable-console-interactive",
        ]  # fmt: skip

    return of


def check(read: Callable[[dict[str, Any]], str]) -> Callable[[Call], str]:
    """Gives the report's one benchmark to `read`, which raises WrongAnswer."""

    def of(call: Call) -> str:
        (benchmark,) = json.loads((call.folder / REPORT).read_bytes())["benchmarks"]
        return read(benchmark)

    return of


def succeeded(benchmark: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests, if all of them succeeded. Raises WrongAnswer."""
    totals, answered = benchmark["metrics"]["request_totals"], list(benchmark["requests"]["successful"])
    if (totals["successful"], totals["errored"], totals["incomplete"], len(answered)) != (REQUESTS, 0, 0, REQUESTS):
        raise WrongAnswer(f"{totals} of {REQUESTS} requests")
    return answered


def embeddings(benchmark: dict[str, Any]) -> str:
    """Every request succeeded, and the server counted its tokens. guidellm keeps no vectors."""
    answered = succeeded(benchmark)
    tokens = [each["input_metrics"]["text_tokens"] for each in answered]
    if not all(tokens):
        raise WrongAnswer(f"texts of {tokens} tokens")
    return f"{len(answered)} texts of {min(tokens)} to {max(tokens)} tokens"


def streams(benchmark: dict[str, Any]) -> str:
    """Every request succeeded, with the tokens that were asked for and more than one piece of its stream."""
    answered = succeeded(benchmark)
    tokens = [each["output_metrics"]["text_tokens"] for each in answered]
    if tokens != [OUTPUT_TOKENS] * REQUESTS:
        raise WrongAnswer(f"answers of {tokens} tokens, and {OUTPUT_TOKENS} were asked for")
    if not all(each["output"] for each in answered):
        raise WrongAnswer("an answer has no text")
    times = [each["info"]["timings"] for each in answered]
    if not all(each["first_token_iteration"] < each["last_token_iteration"] for each in times):
        raise WrongAnswer("a stream came in one piece")
    return f"{len(answered)} streams of {OUTPUT_TOKENS} tokens"


def _client(path: str, task: TaskKind, read: Callable[[dict[str, Any]], str]) -> Client:
    return Client(f"guidellm run {path}", "guidellm", frozenset({task}), command(path), check(read))


GUIDELLM = (
    _client("/v1/completions", "text-generation", streams),
    _client("/v1/chat/completions", "text-generation", streams),
    _client("/v1/embeddings", "feature-extraction", embeddings),
)
