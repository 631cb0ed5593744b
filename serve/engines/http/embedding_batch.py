"""Embeds the texts of waiting requests together: one forward pass after the other, in a thread of its own.

A pass takes the first text and those nearest to it in length, so that little is computed for padding: alone, a text of
ten tokens leaves a core half idle; beside one of two hundred it would cost as much as that one. Requests take turns in
having the first text, so a request of thousands of texts delays another by a pass, and not by all of its own."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.engines.base import Embedder, Floats, Ids

MOST = 32
"""Texts in one pass, so that its memory and its time are bounded."""
SLACK = 8
"""Tokens of padding that are always worth a text's company; beyond them a quarter of its length."""

STEP = 8
"""Tokens: lengths are padded to a multiple of it. A runtime prepares each new shape anew, which costs more."""


@dataclass(eq=False)
class Waiting:
    """One text that waits for its embedding. `request` tells the texts of one request from those of others."""

    request: object
    ids: Ids
    done: asyncio.Future[Floats]


class Batcher:
    """Belongs to one event loop. `texts` and `passes` count what was computed. `gone` is of the pass that is under way:
    whether all its clients have left. `latest` is the request whose text the latest pass began with."""

    def __init__(self, model: Embedder) -> None:
        self.model = model
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self.waiting: list[Waiting] = []
        self.running: asyncio.Task[None] | None = None
        self.under_way: list[Waiting] = []
        self.gone = threading.Event()
        self.latest: object = None
        self.texts = self.passes = 0

    async def embed(self, texts: Sequence[Ids]) -> Floats:
        """Embeddings [B, width] in the order of `texts`. When this is cancelled, what waits is taken out, and a pass
        that computes for nobody else is ended."""
        loop = asyncio.get_running_loop()
        request = object()
        mine = [Waiting(request, ids, loop.create_future()) for ids in texts]
        self.waiting += mine
        if self.running is None or self.running.done():
            self.running = asyncio.create_task(self.run())
        try:
            return np.stack(await asyncio.gather(*(each.done for each in mine)))
        finally:
            self.drop(mine)
            if self.under_way and all(each.done.done() for each in self.under_way):
                self.gone.set()

    def had_its_turn(self, text: Waiting) -> bool:
        return text.request is self.latest

    def drop(self, those: Sequence[Waiting]) -> None:
        gone = set(those)
        self.waiting = [each for each in self.waiting if each not in gone]

    async def run(self) -> None:
        """Pass after pass, until nobody waits. A pass that fails, or is ended, fails its own texts alone."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            self.waiting.sort(key=self.had_its_turn)
            batch = self.under_way = nearest(self.waiting)
            self.latest = batch[0].request
            gone = self.gone = threading.Event()
            self.drop(batch)
            try:
                rows = await loop.run_in_executor(self.worker, self.model.embed, [each.ids for each in batch], gone)
            except Exception as error:
                for each in batch:
                    if not each.done.done():
                        each.done.set_exception(error)
                continue
            finally:
                self.under_way = []
            self.passes += 1
            self.texts += len(batch)
            for each, row in zip(batch, rows, strict=True):
                if not each.done.done():  # its client has gone
                    each.done.set_result(row)


def nearest(waiting: Sequence[Waiting]) -> list[Waiting]:
    """The first, and of the others those nearest to it in length: at most MOST, padded by no more than SLACK allows."""
    length = len(waiting[0].ids)
    slack = max(SLACK, length // 4)
    company = [each for each in waiting[1:] if abs(len(each.ids) - length) <= slack]
    company.sort(key=lambda each: abs(len(each.ids) - length))
    return [waiting[0], *company[: MOST - 1]]


def padded(batch: Sequence[Ids], most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`input_ids` and `attention_mask` [B, length of the longest] int64; padding is token 0, masked.

    The length is a multiple of STEP, unless that is above `most`, which the model cannot take."""
    longest = min(-(-max(len(ids) for ids in batch) // STEP) * STEP, most)
    tokens = np.zeros((len(batch), longest), dtype=np.int64)
    mask = np.zeros_like(tokens)
    for row, ids in enumerate(batch):
        tokens[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    return tokens, mask
