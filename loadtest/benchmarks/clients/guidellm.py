"""guidellm: `guidellm run` against one variant, with texts that it makes itself from a local tokenizer."""

import json
from collections.abc import Callable
from typing import Any

from loadtest.benchmarks.clients.client import Call, Client, WrongAnswer

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


def check(call: Call) -> str:
    """Reads the report. Raises WrongAnswer."""
    (benchmark,) = json.loads((call.folder / REPORT).read_bytes())["benchmarks"]
    return requests(benchmark)


def requests(benchmark: dict[str, Any]) -> str:
    """Every request succeeded, with the tokens that were asked for and more than one piece of its stream."""
    totals, answered = benchmark["metrics"]["request_totals"], benchmark["requests"]["successful"]
    if (totals["successful"], totals["errored"], totals["incomplete"]) != (REQUESTS, 0, 0):
        raise WrongAnswer(f"{totals} of {REQUESTS} requests")
    tokens = [each["output_metrics"]["text_tokens"] for each in answered]
    if tokens != [OUTPUT_TOKENS] * REQUESTS:
        raise WrongAnswer(f"answers of {tokens} tokens, and {OUTPUT_TOKENS} were asked for")
    if not all(each["output"] for each in answered):
        raise WrongAnswer("an answer has no text")
    times = [each["info"]["timings"] for each in answered]
    if not all(each["first_token_iteration"] < each["last_token_iteration"] for each in times):
        raise WrongAnswer("a stream came in one piece")
    return f"{len(answered)} streams of {OUTPUT_TOKENS} tokens"


GUIDELLM = tuple(
    Client(f"guidellm run {path}", "guidellm", frozenset({"text-generation"}), command(path), check)
    for path in ("/v1/completions", "/v1/chat/completions")
)
