"""Several choices at the same time, in one stream."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

T = TypeVar("T")


async def merged(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """What the sources give, as it comes, with the index of its source. The first that fails ends all."""
    waiting = {asyncio.ensure_future(anext(source, None)): index for index, source in enumerate(sources)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                index = waiting.pop(task)
                item = task.result()
                if item is not None:
                    yield index, item
                    waiting[asyncio.ensure_future(anext(sources[index], None))] = index
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for source in sources:
            await source.aclose()


async def alone(source: AsyncGenerator[T, None]) -> AsyncGenerator[tuple[int, T], None]:
    """The same of one source, without a task an item."""
    try:
        async for item in source:
            yield 0, item
    finally:
        await source.aclose()
