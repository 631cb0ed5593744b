"""A failure is its arm's own if the other arm answers the same request; questions are bounded."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.dataplane import second_opinion
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.memory import Memory
from serve.dataplane.router import Target
from serve.dataplane.second_opinion import SecondOpinion
from serve.dataplane.upstream import Upstream
from serve.errors import NotReady


def upstream(limit_s: float = 5.0, endpoint: object = object()) -> Upstream:
    limits = SimpleNamespace(timeout_s=limit_s)
    served = SimpleNamespace(limits=limits)
    return cast(Any, SimpleNamespace(served=served, endpoint=endpoint, manifest=SimpleNamespace(digest="d")))


def failed(size: int = 10, client: str | None = None) -> Call:
    call = Call(Target("m", None), client, lambda upstream: ("/", b"{}"), {}, False, "r", size=size)
    call.upstream, call.status = upstream(), 502
    return call


async def opinions(
    opinion: SecondOpinion, other: Upstream, times: int = 1, size: int = 10, client: str | None = None
) -> list[bool]:
    """Of as many clients, or of one."""
    counted: list[bool] = []
    for number in range(times):
        opinion.on(failed(size, client or f"client {number}"), other, counted.append)
    await asyncio.gather(*opinion.tasks, return_exceptions=True)
    return counted


@pytest.mark.parametrize(
    ("result", "own"),
    [
        (Reply(b"{}", None), True),
        (Reply(b'data: {"choices":[]}\n\ndata: {"error":{}}\n\n', None), False),
        (ReplayFailed("it answered 500"), False),
        (ReplayFailed("it answered 400", refused=True), False),
        (NotReady("it is down"), True),
    ],
)
async def test_a_failure_is_its_arms_own_if_the_other_arm_answers(result: Reply | Exception, own: bool) -> None:
    async def ask(*_: object) -> Reply:
        if isinstance(result, Exception):
            raise result
        return result

    memory = Memory(100)
    assert await opinions(SecondOpinion(ask, memory), upstream()) == [own]
    assert memory.held == 0


async def test_a_request_that_hangs_at_both_is_no_arms_own() -> None:
    async def hang(*_: object) -> Reply:
        await asyncio.sleep(60)
        raise AssertionError

    assert await opinions(SecondOpinion(hang, Memory(100)), upstream(0.01)) == [False]


async def test_without_an_engine_of_the_other_arm_a_failure_counts_like_the_last_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(second_opinion.random, "random", lambda: 0.5)

    async def fail(*_: object) -> Reply:
        raise ReplayFailed("it answered 500")

    opinion, counted = SecondOpinion(fail, Memory(100)), list[bool]()
    opinion.on(failed(), upstream(endpoint=None), counted.append)
    assert counted == [True]
    assert not opinion.tasks
    await opinions(opinion, upstream(), 5)
    opinion.on(failed(), upstream(endpoint=None), counted.append)
    assert counted == [True, False]


async def test_few_are_asked_at_once_and_those_beyond_count_like_the_last_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(second_opinion, "MOST", 10)
    monkeypatch.setattr(second_opinion.random, "random", lambda: 0.5)
    asking, most = 0, 0

    async def fail(*_: object) -> Reply:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        raise ReplayFailed("it answered 500")

    opinion = SecondOpinion(fail, Memory(1000))
    assert await opinions(opinion, upstream(), 12) == [True, True, *[False] * 10]  # nothing is known of the first two
    assert most == second_opinion.AT_ONCE
    assert await opinions(opinion, upstream(), 12) == [False] * 12


async def test_one_client_takes_few_places_and_hides_no_failures_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_opinion.random, "random", lambda: 0.5)

    async def fail(*_: object) -> Reply:
        await asyncio.sleep(0)
        raise ReplayFailed("it answered 500")

    async def answer(*_: object) -> Reply:
        return Reply(b"{}", None)

    opinion = SecondOpinion(answer, Memory(10_000))
    assert await opinions(opinion, upstream(), 3, client="sound") == [True] * 3
    opinion.ask = fail
    many = await opinions(opinion, upstream(), 100, client="poison")
    assert many.count(False) >= second_opinion.MOST_EACH  # those that were asked
    counted: list[bool] = []
    opinion.on(failed(client="sound"), upstream(endpoint=None), counted.append)
    assert counted == [True], "what poison's requests showed says nothing of another client"


async def test_what_the_memory_cannot_hold_is_not_asked() -> None:
    opinion = SecondOpinion(cast(Any, None), Memory(100))
    assert await opinions(opinion, upstream(), size=101) == [True]


async def test_what_is_dropped_at_the_end_counts_for_nothing() -> None:
    async def hang(*_: object) -> Reply:
        await asyncio.sleep(60)
        raise AssertionError

    memory, counted = Memory(100), list[bool]()
    opinion = SecondOpinion(hang, memory)
    opinion.on(failed(), upstream(), counted.append)
    await asyncio.sleep(0)
    opinion.stop()
    await asyncio.gather(*opinion.tasks, return_exceptions=True)
    assert counted == []
    assert memory.held == 0
