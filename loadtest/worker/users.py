"""Locust's users: one sends planned arrivals (open loop), one asks again when answered (closed loop).

Importing this module imports Locust, which patches the standard library for gevent. Only `loadtest.worker.__main__`
imports it, in a process of its own. Locust's own statistics have every request too, with the same times.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from locust import FastHttpUser, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.exception import StopUser

from loadtest.results.records import LineWriter, Record
from loadtest.target import bearer
from loadtest.worker.requests import load_request
from loadtest.worker.responses import read_stream, refusal
from loadtest.worker.stage_run import StageRun, Turn, share_within, tokens_within
from variants.metrics import scoring
from variants.metrics.answer_scores import is_share, score_of
from variants.tasks.digit_classifier.store import load_or_train
from variants.tasks.responses import BadAnswer, ResponseText, read_answer

REQUEST_ERRORS = (*FAILURE_EXCEPTIONS, BadAnswer)
"""The errors that fail one request. The campaign continues."""


class CampaignUser(FastHttpUser):
    """Sends one request and records it, for both kinds of user. The worker sets `live` on a subclass."""

    abstract = True
    live: "RunningCampaign"

    @task
    def work(self) -> None:
        """Send requests from the moment that the gate opens until there are no more."""
        with self.live.guard():
            self.live.gate.wait()
            for turn in self.turns():
                self.send(turn)
        raise StopUser

    def turns(self) -> Iterator[Turn]:
        """The requests to send. Each is given when its time has come."""
        raise NotImplementedError

    def send(self, turn: Turn) -> None:
        """Send one request, wait for its whole answer, write its record. Raises StageError where too many failed."""
        run = self.live.run
        request = load_request(turn.pool, turn.content, turn.variant, turn.client)
        name = f"{run.stage.part} {turn.pool.model}@{turn.variant or 'routed'} {turn.pool.task}"
        started = run.clock()
        facts: dict[str, Any] = {"status": 0}
        answer: ResponseText | None = None
        error: str | None = None
        limit = gevent.Timeout(run.plan.timeout_s)
        limit.start()
        try:
            with self.client.post(
                request.path,
                data=request.body,  # type: ignore[arg-type]  # bytes are sent as they are
                headers=request.headers | bearer(),
                name=name,
                stream=True,
                catch_response=True,
            ) as response:
                try:
                    facts = _facts(response)
                    answer = _read(response, turn, run.clock)
                except REQUEST_ERRORS as failure:
                    error = _error_text(failure, run.plan.timeout_s)
                    response.failure(error)
                response.request_meta["response_time"] = 1000 * (run.clock() - started)
        except gevent.GreenletExit:
            error = "cut off: the stage passed its limit"
            raise
        finally:
            limit.close()
            self.live.write(turn, started, run.clock(), facts, answer, error)
        run.note(error)


class OpenUser(CampaignUser):
    """Takes the next planned arrival, waits for its time, sends it. With enough of these users, no arrival has to wait
    for the answer to another."""

    abstract = True

    def turns(self) -> Iterator[Turn]:
        while turn := self.live.run.next_arrival():
            assert turn.planned is not None
            gevent.sleep(max(0.0, turn.planned - self.live.run.clock()))
            yield turn


class ClosedUser(CampaignUser):
    """Sends a request, waits for the answer, sends the next, on one pinned variant."""

    abstract = True

    def turns(self) -> Iterator[Turn]:
        lane, delay = next(self.live.run.clients)
        gevent.sleep(delay)
        while turn := self.live.run.next_in(lane):
            yield turn


class RunningCampaign:
    """What the users of one stage share: its run, the gate that they wait for, the writer, and the first error."""

    def __init__(self, run: StageRun, writer: LineWriter[Record], clock_to_epoch: float) -> None:
        self.run = run
        self.gate = gevent.event.Event()
        self.finished = gevent.event.Event()
        self.error: BaseException | None = None
        self._writer = writer
        self._clock_to_epoch = clock_to_epoch
        self._working = run.users

    @contextmanager
    def guard(self) -> Iterator[None]:
        """One user's work. The first error of any user ends the stage, and so does the end of the last user."""
        try:
            yield
        except gevent.GreenletExit:
            raise
        except BaseException as error:
            self.error = self.error or error
        self._working -= 1
        if self.error is not None or self._working == 0:
            self.finished.set()

    def write(
        self,
        turn: Turn,
        started: float,
        ended: float,
        facts: dict[str, Any],
        answer: ResponseText | None,
        error: str | None,
    ) -> None:
        stage = self.run.stage
        begin = started if turn.planned is None else turn.planned
        record = Record(
            part=stage.part,
            slice=stage.slice,
            model=turn.pool.model,
            variant_asked=turn.variant,
            client=turn.client,
            task=turn.pool.task,
            example=turn.content.example,
            planned=None if turn.planned is None else turn.planned + self._clock_to_epoch,
            started=started + self._clock_to_epoch,
            latency_s=ended - begin,
            error=error or (None if answer else "no answer"),
            label=turn.content.label,
            **facts,
            **(self._figures(turn, started, ended, begin, answer) if answer else {}),
        )
        self._writer.write(record)

    def _figures(self, turn: Turn, started: float, ended: float, begin: float, answer: ResponseText) -> dict[str, Any]:
        """The fields of a record that need a whole answer."""
        tokens, times = answer.output_tokens, answer.token_times
        figures: dict[str, Any] = {
            "answer": answer.text,
            "prompt_tokens": answer.prompt_tokens,
            "output_tokens": tokens,
        }
        if times:
            figures["ttft_s"] = times[0] - begin
            if tokens and tokens > 1:
                figures["tpot_s"] = (times[-1] - times[0]) / (tokens - 1)
        if self.run.stage.slice is not None:
            assert self.run.stage.window is not None
            opens, seconds = self.run.opens, self.run.stage.window.seconds
            figures["slice_tokens"] = tokens_within(times, tokens or 0, opens, seconds)
            figures["slice_share"] = share_within(started, ended, opens, seconds)
        if turn.content.label is not None and turn.pool.kind != "pair":  # no single cosine is right or wrong
            kind = _task_kind(turn)
            figures["correct"] = scoring.is_correct(kind, answer.text, turn.content.label)
            if is_share(kind):
                figures |= {"scorer": kind, "score": score_of(kind, answer.text, turn.content.label)}
        return figures


def _facts(response: Any) -> dict[str, Any]:
    """The status and the values of the headers. A response that never came has status 0 and no headers."""
    headers = response.headers or {}
    return {
        "status": response.status_code,
        "variant": headers.get("x-understudy-variant"),
        "reason": headers.get("x-understudy-reason"),
        "request_id": headers.get("x-request-id"),
        "artifact": headers.get("x-understudy-artifact"),
    }


def _read(response: Any, turn: Turn, clock: Callable[[], float]) -> ResponseText:
    """The whole answer, compared with the request. Raises one of REQUEST_ERRORS."""
    if response.status_code == 0:
        raise response.error
    if response.status_code != 200:
        # The client has read the body of a refusal already.
        raise refusal(response.status_code, response.content or b"")
    if turn.pool.kind == "text":
        answer = read_stream(response.stream, clock)
    else:
        classifier = load_or_train() if turn.pool.kind == "drawing" else None
        answer = read_answer(_task_kind(turn), response.stream.read(), classifier)
    answered_by = response.headers.get("x-understudy-variant")
    if answered_by is None:
        raise BadAnswer("the answer names no variant")
    if turn.variant is not None and answered_by != turn.variant:
        raise BadAnswer(f"asked {turn.variant}, answered by {answered_by}")
    if turn.pool.ignore_eos and answer.output_tokens != turn.pool.max_tokens:
        raise BadAnswer(f"{answer.output_tokens} tokens instead of {turn.pool.max_tokens}")
    return answer


def _error_text(failure: BaseException, timeout_s: float) -> str:
    if isinstance(failure, gevent.Timeout):
        return f"no whole answer within {timeout_s:g} s"
    return f"{failure}" if isinstance(failure, BadAnswer) else f"{type(failure).__name__}: {failure}"


def _task_kind(turn: Turn) -> str:
    """The kind of the task. A pool of the kind "label" has a text task's examples, asked for labels."""
    return "text" if turn.pool.kind == "label" else turn.pool.kind


def epoch_offset() -> float:
    """Seconds to add to the stage's clock for seconds since 1970."""
    return time.time() - time.perf_counter()
