"""Which texts share a forward pass, and that each request gets its own embeddings back, in order."""

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from serve.engines.base import Floats, Ids
from serve.engines.http.embedding_batch import MOST, Batcher, padded
from serve.errors import ClientLeft


class Lengths:
    """Embeds a text as its length and its first token; `open` lets passes begin."""

    platform, executes, computed_ns, width, context, vocabulary = "made", "f32", 0, 2, 512, 100

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.fault: Exception | None = None
        self.cancelled = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        raise NotImplementedError

    def embed(self, batch: Sequence[Ids], gone: threading.Event | None = None) -> Floats:
        assert gone is not None
        deadline = time.monotonic() + 10
        while not self.open.wait(0.001) and time.monotonic() < deadline:
            if gone.is_set():
                self.cancelled += 1
                raise ClientLeft("gone")
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.batches.append([len(ids) for ids in batch])
        return np.array([[len(ids), ids[0]] for ids in batch], dtype=np.float32)


def text(length: int, token: int = 1) -> list[int]:
    return [token] * length


async def test_waiting_texts_of_like_length_share_a_pass_and_come_back_in_order() -> None:
    model = Lengths()
    batcher = Batcher(model)
    asks = [asyncio.create_task(batcher.embed([text(10, 7)]))]
    await asyncio.sleep(0.01)  # under way, alone
    asks += [asyncio.create_task(batcher.embed([text(n, n), text(200, n)])) for n in (12, 15, 9)]
    await asyncio.sleep(0.01)
    model.open.set()
    answers = [await ask for ask in asks]
    assert [rows[0].tolist() for rows in answers] == [[10, 7], [12, 12], [15, 15], [9, 9]]
    assert [rows[1].tolist() for rows in answers[1:]] == [[200, 12], [200, 15], [200, 9]]
    assert model.batches == [[10], [12, 15, 9], [200, 200, 200]]
    assert (batcher.texts, batcher.passes) == (7, 3)


async def test_a_pass_has_a_bound() -> None:
    model = Lengths()
    model.open.set()
    batcher = Batcher(model)
    rows = await batcher.embed([text(5, 1 + index % 99) for index in range(2 * MOST + 1)])
    assert rows[:, 1].tolist() == [1 + index % 99 for index in range(2 * MOST + 1)]
    assert [len(batch) for batch in model.batches] == [MOST, MOST, 1]


async def test_requests_take_turns() -> None:
    model = Lengths()
    batcher = Batcher(model)
    many = asyncio.create_task(batcher.embed([text(200)] * (5 * MOST)))
    await asyncio.sleep(0.01)
    few = [asyncio.create_task(batcher.embed([text(length, length)])) for length in (20, 90)]
    await asyncio.sleep(0.01)
    model.open.set()
    assert [(await ask)[0].tolist() for ask in few] == [[20, 20], [90, 90]]
    await many
    assert [batch[0] for batch in model.batches] == [200, 20, 90, 200, 200, 200, 200]


async def test_what_nobody_waits_for_is_not_computed() -> None:
    model = Lengths()
    batcher = Batcher(model)
    first = asyncio.create_task(batcher.embed([text(5)]))
    await asyncio.sleep(0.01)
    gone = asyncio.create_task(batcher.embed([text(6)]))
    kept = asyncio.create_task(batcher.embed([text(7)]))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    model.open.set()
    await asyncio.gather(first, kept)
    assert model.batches == [[5], [7]]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_pass_that_fails_fails_its_own_texts_alone() -> None:
    model = Lengths()
    batcher = Batcher(model)
    model.fault = RuntimeError("out of memory")
    lost = asyncio.create_task(batcher.embed([text(5)]))
    await asyncio.sleep(0.01)
    kept = asyncio.create_task(batcher.embed([text(6)]))
    model.open.set()
    with pytest.raises(RuntimeError, match="out of memory"):
        await lost
    assert (await kept).tolist() == [[6, 1]]


def test_padding_is_masked_and_lengths_are_few() -> None:
    tokens, mask = padded([[5, 6, 7], [8]], 512)
    assert tokens.tolist() == [[5, 6, 7, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    assert [padded([[1] * length], 20)[0].shape[1] for length in (8, 9, 16, 17)] == [8, 16, 16, 20]
    assert (tokens.dtype, mask.dtype) == (np.int64, np.int64)


async def test_a_pass_that_nobody_waits_for_is_ended_and_the_next_begins() -> None:
    model = Lengths()
    batcher = Batcher(model)
    left = [asyncio.create_task(batcher.embed([text(10)] * 3)), asyncio.create_task(batcher.embed([text(10)]))]
    await asyncio.sleep(0.01)
    stays = asyncio.create_task(batcher.embed([text(300, 9)]))
    await asyncio.sleep(0.01)
    for ask in left:
        assert model.cancelled == 0  # somebody waited for it
        ask.cancel()
        await asyncio.wait([ask])
    while not model.cancelled:
        await asyncio.sleep(0.001)
    model.open.set()
    assert (await stays)[0].tolist() == [300, 9]
    assert (model.cancelled, model.batches, batcher.passes) == (1, [[300]], 1)


async def test_a_pass_of_others_goes_on_when_a_client_leaves() -> None:
    model = Lengths()
    batcher = Batcher(model)
    first = asyncio.create_task(batcher.embed([text(10, 3)]))
    await asyncio.sleep(0.01)
    leaves = asyncio.create_task(batcher.embed([text(10, 4)]))
    await asyncio.sleep(0.01)
    leaves.cancel()
    await asyncio.wait([leaves])
    model.open.set()
    assert (await first)[0].tolist() == [10, 3]
    assert (model.cancelled, model.batches) == (0, [[10]])
