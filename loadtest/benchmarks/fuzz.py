"""`make fuzz`: generated requests to every operation of `/openapi.json`, by schemathesis.

The server runs on scripted engines. Requests are made from the document's schemas: examples, boundary values, random
values, values that the schemas refuse, and sequences of calls. Each answer must have a status, content type and body
that the document has, and no status 5xx but 503 with `Retry-After`. At the end, the server must still be ready.

Rounds go on until enough cases were sent; each has its own seed, which is the first one plus the round's number. What
the server answers is not used to generate, so the same seed sends the same requests. No route is left out: requests
that change traffic, rollouts and the stack are sent too, and none of them can stop the server.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from schemathesis.engine import from_schema
from schemathesis.engine.events import Interrupted, NonFatalError, ScenarioFinished
from schemathesis.engine.recorder import ScenarioRecorder

from loadtest.benchmarks.figures import write_figures
from loadtest.benchmarks.hostile import start_scripted
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words
from variants.progress import NoProgress, Progress, for_stream

CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "negative_data_rejection",
    "holds",
)
LENIENT = ("/v1/chat/completions", "/v1/completions", "/tokenize")
"""Paths that accept more than their schemas say, such as numbers as text: the engine checks most of their fields."""
ANSWER_LIMIT_S = 30.0
NAMES = ["echo", "echo@int8", "near", "near@int8", "bands", "bands@baseline", "nothing"]
"""Models and variants of the scripted stack, and one that does not exist."""
KNOWN: dict[str, list[str]] = {
    "path.model": NAMES,
    "body.model": NAMES,
    "path.variant": ["baseline", "int8", "nothing"],
    "header.if-match": ["*", '"1"', '"2"'],
    "header.x-understudy-task": ["mnist", "r8", "nothing"],
}
"""Values by parameter: random names would reach nothing behind the name's check."""


STACK = "/admin/v1/stack"


@dataclass(frozen=True)
class Plan:
    """How many cases at least, and how many random ones of an operation in a round. Operations of `spared` paths get no
    boundary values: those with large schemas have a thousand each."""

    cases: int = 20_000
    seed: int = 0
    examples: int = 100
    spared: tuple[str, ...] = ()


@dataclass
class Failure:
    """Answers that failed one check in the same way. `curl` sends the shortest of their requests."""

    operation: str
    check: str
    status: str
    says: str
    curl: str
    seed: int
    count: int = 1


@dataclass
class Fuzzed:
    """What was sent and answered. `answers` counts statuses by operation; `none` stands for no answer."""

    seed: int
    cases: int = 0
    rounds: int = 0
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    failures: dict[tuple[str, ...], Failure] = field(default_factory=dict)
    interrupted: bool = False

    def fail(self, failure: Failure) -> None:
        """Note a failure, with those of its kind."""
        key = (failure.operation, failure.check, failure.status)
        known = self.failures.setdefault(key, failure)
        if known is not failure:
            known.count += 1
            if failure.curl and len(failure.curl) < len(known.curl):
                known.says, known.curl, known.seed = failure.says, failure.curl, failure.seed

    def take(self, recorder: ScenarioRecorder, seed: int) -> None:
        """Count the requests of one scenario, and note what failed."""
        for name, node in recorder.cases.items():
            operation = node.value.operation.label
            sent = recorder.interactions.get(name)
            status = str(sent.response.status_code) if sent is not None and sent.response is not None else "none"
            self.cases += 1
            self.answers.setdefault(operation, Counter())[status] += 1
            for check in recorder.checks.get(name, []):
                if check.failure_info is not None:
                    says = str(check.failure_info.failure)
                    self.fail(Failure(operation, check.name, status, says, check.failure_info.code_sample, seed))

    def figures(self) -> dict[str, Any]:
        failures = [vars(each) for each in self.failures.values()]
        answers = {operation: dict(sorted(counts.items())) for operation, counts in sorted(self.answers.items())}
        return {
            "seed": self.seed,
            "cases": self.cases,
            "rounds": self.rounds,
            "interrupted": self.interrupted,
            "answers": answers,
            "failures": failures,
        }


@schemathesis.check
def holds(context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """No status 5xx but 503 with `Retry-After`. Raises AssertionError."""
    if response.status_code < 500:
        return
    again = response.headers.get("retry-after", [""])[0]
    assert response.status_code == 503, f"status {response.status_code}"
    assert again.isdecimal(), f"status 503 without a number of seconds in retry-after: {again!r}"
    assert "controller does not answer" not in response.text, "the controller ran all the time"


def settings(url: str, seed: int, plan: Plan, first: bool) -> schemathesis.Config:
    """What schemathesis does in a round. Examples and boundary values are the same in each, so only the `first` has
    them."""
    documents = {
        "seed": seed,
        "base-url": url,
        "continue-on-failure": True,
        "request-timeout": ANSWER_LIMIT_S,
        "dictionaries": {name: {"values": values} for name, values in KNOWN.items()},
        "parameters": {name: {"dictionary": name, "probability": 0.8} for name in KNOWN},
        "generation": {"max-examples": plan.examples, "database": "none", "no-shrink": True},
        "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
        "output": {"sanitization": {"enabled": False}},
        "phases": {
            "examples": {"enabled": first, "extra-data-sources": {"responses": False}},
            "coverage": {"enabled": first, "extra-data-sources": {"responses": False}},
            "fuzzing": {"extra-data-sources": {"responses": False}},
            "stateful": {"max-steps": 4},
        },
        "operations": [
            *({"include-path": path, "phases": {"coverage": {"enabled": False}}} for path in plan.spared),
            *({"include-path": path, "checks": {"negative_data_rejection": {"enabled": False}}} for path in LENIENT),
        ],
    }
    return schemathesis.Config.from_dict(documents)


def fuzz(url: str, plan: Plan, progress: Progress | None = None) -> Fuzzed:
    """Send at least `plan.cases` requests to the server at `url`, or until this process is interrupted.

    Raises LoadError if the server ends or is not ready afterwards."""
    fuzzed = Fuzzed(plan.seed)
    with (progress or NoProgress()).step(f"seed {plan.seed}", plan.cases) as step:
        while fuzzed.cases < plan.cases and not fuzzed.interrupted:
            before = fuzzed.cases
            for event in play(url, plan, fuzzed):
                fuzzed.take(event.recorder, plan.seed + fuzzed.rounds)
                step.to(min(fuzzed.cases, plan.cases))
            fuzzed.rounds += 1
            if fuzzed.cases == before and not fuzzed.interrupted:
                raise LoadError("no request could be made from the document", mend=f"see {url}/openapi.json")
    if not fuzzed.interrupted:
        check_ready(url)
    return fuzzed


def play(url: str, plan: Plan, fuzzed: Fuzzed) -> Iterable[ScenarioFinished]:
    """The next round over all operations. An exception or an interrupt, which belongs to no answer, is noted in
    `fuzzed`."""
    seed = plan.seed + fuzzed.rounds
    config = settings(url, seed, plan, first=not fuzzed.rounds)
    for event in from_schema(schemathesis.openapi.from_dict(document_of(url), config=config)).execute():
        if isinstance(event, ScenarioFinished):
            yield event
        elif isinstance(event, NonFatalError):
            fuzzed.fail(Failure(event.label, "error", "none", str(event.value), event.info.code_sample or "", seed))
        elif isinstance(event, Interrupted):
            fuzzed.interrupted = True


def document_of(url: str) -> dict[str, Any]:
    """The server's document, with examples of what changes its state: random ones are refused at their first field.

    Raises LoadError."""
    document = read(url, "/openapi.json")
    if STACK not in document["paths"]:
        return document
    live, traffic = read(url, STACK), read(url, "/admin/v1/models/echo/traffic")["traffic"]
    asked = {"model": "echo", "prompt": "a", "max_tokens": 1}
    answer = httpx.post(f"{url}/v1/completions", json=asked, timeout=ANSWER_LIMIT_S)
    for path, method, example in (
        (STACK, "post", {"stack": live["stack"], "artifacts": live["artifacts"], "dry_run": True}),
        ("/admin/v1/models/{model}/traffic", "put", traffic),
        ("/admin/v1/models/{model}/rollout", "post", {"variant": "int8", "hold_s": 0}),
        ("/v1/feedback", "post", {"id": answer.headers.get("x-understudy-id", ""), "score": 1}),
    ):
        document["paths"][path][method]["requestBody"]["content"]["application/json"]["example"] = example
    return document


def read(url: str, path: str) -> dict[str, Any]:
    """The JSON at a path. Raises LoadError if there is none."""
    answer = httpx.get(url + path, timeout=ANSWER_LIMIT_S)
    if answer.status_code != 200:
        raise LoadError(f"{path} answered {answer.status_code}: {answer.text:.200}", mend="see the server's log")
    return dict(answer.json())


def check_ready(url: str) -> None:
    """Raises LoadError if the server does not answer, or a model is not ready."""
    try:
        answer = httpx.get(f"{url}/v2/health/ready", timeout=ANSWER_LIMIT_S)
    except httpx.TransportError as error:
        raise LoadError(f"the server does not answer any more: {error}", mend="see its log") from None
    if answer.status_code != 200:
        raise LoadError(f"the server is not ready any more: {answer.text}", mend="see its log")


def table(fuzzed: Fuzzed) -> str:
    """The result as text: answers by operation, then each failure with the request that shows it."""
    lines = [f"seed {fuzzed.seed}, {fuzzed.cases} cases in {fuzzed.rounds} rounds"]
    for operation, counts in sorted(fuzzed.answers.items()):
        lines.append(f"{operation:58}" + ", ".join(f"{count} x {status}" for status, count in sorted(counts.items())))
    for each in fuzzed.failures.values():
        lines += ["", f"{each.operation}: {each.check}, status {each.status}, {each.count} times (seed {each.seed})"]
        lines += [f"    {line}" for line in (*each.says.splitlines()[:12], each.curl)]
    return "\n".join([*lines, "", f"{len(fuzzed.failures)} kinds of failures"])


def main() -> int:
    """The exit status: 1 if a check failed."""
    parser = argparse.ArgumentParser(description="Send generated requests to every operation of the server.")
    parser.add_argument("--cases", type=int, default=Plan.cases)
    parser.add_argument("--seed", type=int, default=Plan.seed, help="the first round's seed")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "fuzz")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as children:
        url, _ = start_scripted(children, out / "home", "rollouts=yes", "token_s=0")
        fuzzed = fuzz(url, Plan(given.cases, given.seed), for_stream())
    write_figures(out / "fuzz.json", fuzzed.figures(), ("schemathesis", "hypothesis"))
    print(json.dumps(fuzzed.figures()) if given.json else table(fuzzed))
    if fuzzed.interrupted:
        raise KeyboardInterrupt
    return 1 if fuzzed.failures else 0


if __name__ == "__main__":
    with ends_in_words("fuzz"):
        sys.exit(main())
