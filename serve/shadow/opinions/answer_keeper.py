"""Keeps answers that differ, where the stack file says so (`keep_answers`). They are written in groups in a thread.

What a stack file no longer keeps is removed with the next group, at most `GROUP_S` after an ingress has that stack.
"""

import asyncio
import logging
import random
import sqlite3
import time
from contextlib import suppress

from serve.config.keep_answers import KeepAnswers
from serve.dataplane.upstreams import Upstreams
from serve.shadow.opinions.answer_store import AnswerStore
from serve.shadow.opinions.difference import Difference
from variants.home import home

log = logging.getLogger("understudy.answers")
GROUP_S = 1.0
AGE_S = 60.0
"""The time after which old answers are looked for, where nothing is written."""
MOST = 256
"""Limit of answers that wait to be written; more are not kept."""


class AnswerKeeper:
    """One ingress' writer."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.waiting: list[Difference] = []
        self.kept: dict[str, KeepAnswers] | None = None
        self.looked = 0.0
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.work())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
            await self.flush()

    @property
    def store(self) -> AnswerStore:
        """Where this server's differing answers are kept."""
        server = self.upstreams.snapshot.stack.server
        return AnswerStore(home() / "answers" / f"{server.host.replace(':', '_')}-{server.port}.sqlite")

    @property
    def settings(self) -> dict[str, KeepAnswers]:
        """The settings of the models whose answers are kept."""
        return {name: model.keep_answers for name, model in self.upstreams.models.items() if model.keep_answers}

    def offer(self, difference: Difference) -> None:
        """Keep a pair if the model's setting says so."""
        setting = self.settings.get(difference.model)
        if setting is None or len(self.waiting) >= MOST or difference.is_too_long:
            return
        if random.random() < setting.share:
            self.waiting.append(difference)

    async def work(self) -> None:
        while True:
            try:
                await self.flush()
            except Exception:  # one unexpected error must not end the writing
                log.exception("differing answers were not kept")
            await asyncio.sleep(GROUP_S)

    async def flush(self) -> None:
        """Write what waits, and remove what is not kept any more. What cannot be written is logged and given up."""
        settings = self.settings
        if not self.waiting and settings == self.kept and time.monotonic() - self.looked < AGE_S:
            return
        group, self.waiting = self.waiting, []
        try:
            await asyncio.to_thread(self.store.update, group, settings, time.time())
        except (OSError, sqlite3.Error) as error:
            log.warning("%d differing answers were not kept: %s", len(group), error)
        else:
            self.kept, self.looked = settings, time.monotonic()
