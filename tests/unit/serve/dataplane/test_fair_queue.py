"""Who gets a place at an engine, who a position in its queue, and for how long the others are sent away."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from serve.dataplane.fair_queue import FairQueue, Holders, QueueFull, holders_of

A, B, C = (holders_of(None, name) for name in "abc")


class Engine:
    """Requests that run until they are told to end. `running` and `refused` hold their names in order."""

    def __init__(self, places: int, queue: int, share: float = 0.5) -> None:
        self.queue = FairQueue(places, queue, share)
        self.running: list[str] = []
        self.refused: list[str] = []
        self.began: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def ask(self, name: str, holders: Holders) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self.run(name, holders))
        await settle()

    async def run(self, name: str, holders: Holders) -> None:
        try:
            await self.queue.acquire(holders)
        except QueueFull:
            self.refused.append(name)
            return
        self.running.append(name)
        self.began.append(name)
        try:
            await self.ends[name].wait()
        finally:
            self.running.remove(name)
            self.queue.release(holders)

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settle()

    def is_empty(self) -> bool:
        queue = self.queue
        return not (queue.waiters or queue.running_of or queue.waiting_of or queue.latest_turn or self.running)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_alone_a_client_may_use_everything() -> None:
    engine = Engine(places=2, queue=4)
    for number in range(7):
        await engine.ask(f"a{number}", A)
    assert engine.running == ["a0", "a1"]
    assert engine.refused == ["a6"]
    for number in range(6):
        await engine.end(f"a{number}")
    assert engine.began == [f"a{number}" for number in range(6)]
    assert engine.is_empty()


async def test_another_client_gets_half_of_a_full_queue() -> None:
    engine = Engine(places=2, queue=4)
    for number in range(6):
        await engine.ask(f"a{number}", A)
    for number in range(3):
        await engine.ask(f"b{number}", B)
    assert engine.refused == ["a5", "a4", "b2"]
    await engine.ask("a6", A)
    assert engine.refused[-1] == "a6"


async def test_a_free_place_goes_to_who_has_less_than_its_share() -> None:
    engine = Engine(places=2, queue=4)
    for number in range(4):
        await engine.ask(f"a{number}", A)
    await engine.ask("b0", B)
    await engine.ask("b1", B)
    await engine.end("a0")
    assert engine.running == ["a1", "b0"]
    await engine.end("b0")
    assert engine.running == ["a1", "b1"]
    await engine.end("b1")
    assert engine.running == ["a1", "a2"]


async def test_one_place_goes_round() -> None:
    engine = Engine(places=1, queue=8)
    for name in ("a0", "a1", "a2", "b0", "b1", "c0"):
        await engine.ask(name, {"a": A, "b": B, "c": C}[name[0]])
    for name in ("a0", "b0", "c0", "a1", "b1", "a2"):
        assert engine.running == [name]
        await engine.end(name)
    assert engine.is_empty()


async def test_the_clients_of_one_key_share_what_the_key_has() -> None:
    engine = Engine(places=2, queue=4)
    for number in range(6):
        await engine.ask(f"x{number}", holders_of("shop", "x"))
    await engine.ask("y0", holders_of("shop", "y"))
    assert engine.refused == ["x5"]
    await engine.ask("z0", holders_of("lab", "x"))
    assert engine.refused == ["x5", "x4"], "the client x of another key is another client"
    await engine.end("x0")
    assert engine.running == ["x1", "z0"], "of two keys, the one with less is first"
    await engine.end("x1")
    assert engine.running == ["z0", "y0"], "of two clients of the key, the one with less is first"


async def test_share_is_the_setting() -> None:
    engine = Engine(places=4, queue=4, share=0.25)
    for number in range(8):
        await engine.ask(f"a{number}", A)
    for number in range(3):
        await engine.ask(f"b{number}", B)
    assert engine.refused == ["a7", "b1", "b2"]
    whole = Engine(places=1, queue=2, share=1.0)
    for number in range(3):
        await whole.ask(f"a{number}", A)
    await whole.ask("b0", B)
    assert whole.refused == ["b0"]


async def test_without_a_queue_nobody_waits() -> None:
    engine = Engine(places=1, queue=0)
    await engine.ask("a0", A)
    await engine.ask("b0", B)
    assert (engine.running, engine.refused) == (["a0"], ["b0"])


async def test_who_leaves_the_queue_or_its_place_loses_nothing_for_others() -> None:
    engine = Engine(places=1, queue=2)
    for name, holders in (("a0", A), ("b0", B), ("c0", C)):
        await engine.ask(name, holders)
    engine.tasks["b0"].cancel()
    engine.ends["a0"].set()  # in the same turn of the loop: b0 is cancelled and has not left yet
    await settle()
    assert engine.running == ["c0"]
    await engine.ask("b1", B)
    engine.queue.release(C)  # b1 gets the place and is cancelled before it knows
    engine.tasks["b1"].cancel()
    await settle()
    assert engine.queue.free == 1
    engine.queue.take(C)
    await engine.end("c0")
    assert engine.is_empty()


async def test_a_cancelled_request_keeps_no_position() -> None:
    engine = Engine(places=1, queue=1)
    await engine.ask("a0", A)
    await engine.ask("b0", B)
    engine.tasks["b0"].cancel()
    await engine.ask("c0", C)  # begins in the same turn of the loop, in which b0 has not left yet
    assert engine.refused == []
    await engine.end("a0")
    assert engine.running == ["c0"]
    await engine.end("c0")
    assert engine.is_empty()


async def test_any_number_of_clients_leaves_nothing_behind() -> None:
    engine = Engine(places=3, queue=1000)
    for number in range(200):
        await engine.ask(f"{number}", holders_of("key", f"client-{number % 50}"))
    while engine.running:
        await engine.end(engine.running[0])
    assert Counter(len(name) > 0 for name in engine.began)[True] == 200
    assert engine.is_empty()


@pytest.mark.parametrize(
    ("gap_s", "waiting", "expected"), [(0.25, 8, 2), (0.1, 1, 1), (2.0, 10, 20), (30.0, 10, 60), (0.0, 4, 1)]
)
async def test_retry_after_is_the_time_that_the_queue_takes(
    gap_s: float, waiting: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("serve.dataplane.fair_queue.time", Clock(lambda: now))
    engine = Engine(places=1, queue=100)
    now += 3600  # an idle hour says nothing about the speed
    for number in range(waiting + 6):
        await engine.ask(f"a{number}", A)
    for number in range(5):
        now += gap_s
        await engine.end(f"a{number}")
    assert len(engine.queue.waiters) == waiting
    assert engine.queue.retry_after_s() == expected
    now += 3600
    assert engine.queue.retry_after_s() == 60, "an engine that hangs is not fast"


class Clock:
    def __init__(self, monotonic: Any) -> None:
        self.monotonic = monotonic
