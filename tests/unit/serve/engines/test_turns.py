"""Engines start in turns, and one that hangs does not keep the others waiting."""

import asyncio

import pytest

from serve.engines.turns import Turns


async def test_no_more_start_at_a_time_than_there_are_turns() -> None:
    turns, running, most = Turns(2), 0, 0

    async def start() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    await asyncio.gather(*(turns.run(start()) for _ in range(7)))
    assert (running, most) == (0, 2)


async def test_one_that_hangs_gives_its_turn_up_and_is_awaited_all_the_same() -> None:
    turns, go, ended = Turns(1, turn_s=0.01), asyncio.Event(), []

    async def hangs() -> None:
        await go.wait()
        ended.append("hangs")

    async def starts() -> None:
        ended.append("starts")

    hanging = asyncio.create_task(turns.run(hangs()))
    await asyncio.sleep(0)
    await turns.run(starts())
    assert ended == ["starts"]
    go.set()
    await hanging
    assert ended == ["starts", "hangs"]


async def test_a_start_that_fails_says_so_and_the_next_has_its_turn() -> None:
    turns = Turns(1)

    async def fails() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await turns.run(fails())


@pytest.mark.parametrize("begun", [True, False])
async def test_who_is_cancelled_starts_no_engine(begun: bool) -> None:
    turns, ended = Turns(1), []

    async def start() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    if not begun:
        await turns.free.acquire()
    waiting = asyncio.create_task(turns.run(start()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == [True] * begun
