"""The text of `/metrics` is made off the event loop, and not for everybody who asks."""

import asyncio
import threading
import time

import pytest

from serve.api.metrics_text import GAP_S, MetricsText


class Made:
    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s, self.times, self.threads = takes_s, 0, set[int]()

    def __call__(self) -> bytes:
        self.times += 1
        self.threads.add(threading.get_ident())
        time.sleep(self.takes_s)
        return str(self.times).encode()


async def test_a_crowd_shares_a_text() -> None:
    made = Made(takes_s=0.05)
    text = MetricsText(made)
    answers = await asyncio.gather(*(text.read() for _ in range(200)))
    assert set(answers) == {b"1"}
    assert threading.get_ident() not in made.threads


async def test_a_text_is_never_older_than_the_question() -> None:
    text = MetricsText(Made())
    assert [await text.read() for _ in range(4)] == [b"1", b"2", b"3", b"4"]


async def test_texts_have_a_gap_between_them() -> None:
    text = MetricsText(Made())
    began = time.monotonic()
    for _ in range(3):
        await text.read()
    assert time.monotonic() - began >= 2 * GAP_S


async def test_a_text_that_cannot_be_made_is_an_error_and_made_again() -> None:
    answers = iter([OSError("no"), b"yes"])

    def render() -> bytes:
        answer = next(answers)
        if isinstance(answer, bytes):
            return answer
        raise answer

    text = MetricsText(render)
    with pytest.raises(OSError, match="no"):
        await text.read()
    assert await text.read() == b"yes"


async def test_the_event_loop_runs_on_while_a_text_is_made() -> None:
    text = MetricsText(Made(takes_s=0.3))
    reading = asyncio.create_task(text.read())
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 3, "the loop had turns of its own"
    assert await reading == b"1"
