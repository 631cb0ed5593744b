"""A client that leaves cancels the work for it; one that stays does not."""

import asyncio
import time
from typing import Any, cast

import pytest

from serve.dataplane.call import Call
from serve.dataplane.relay import cancelled_by_disconnect
from serve.dataplane.router import Target
from serve.errors import CLIENT_WENT_AWAY


def call() -> Call:
    return Call(Target("m", None), None, lambda upstream: ("/", b""), {}, False, "r", arrived=time.perf_counter())


async def test_a_client_that_leaves_cancels_its_work_and_is_noted() -> None:
    asked = call()

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def work() -> None:
        async with cancelled_by_disconnect(asked, cast(Any, gone)):
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())
    assert asked.status == CLIENT_WENT_AWAY


async def test_a_client_that_stays_cancels_nothing() -> None:
    asked, more = call(), asyncio.Event()

    async def stays() -> dict[str, str]:
        await more.wait()
        return {"type": "http.disconnect"}

    async with cancelled_by_disconnect(asked, cast(Any, stays)):
        await asyncio.sleep(0)
    more.set()
    await asyncio.sleep(0)
    assert asked.status == 0
