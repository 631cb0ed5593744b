"""Several choices in one stream."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from serve.engines.http.text_choices import alone, merged


async def counted(items: int, every_s: float, ended: list[str], fails: bool = False) -> AsyncGenerator[int, None]:
    try:
        for item in range(items):
            await asyncio.sleep(every_s)
            yield item
        if fails:
            raise ValueError("no more")
    finally:
        ended.append("closed")


async def test_items_come_as_their_sources_give_them() -> None:
    ended: list[str] = []
    items = [pair async for pair in merged([counted(2, 0.05, ended), counted(3, 0.001, ended)])]
    assert items == [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1)]
    assert len(ended) == 2


async def test_one_source_keeps_its_order() -> None:
    assert [pair async for pair in alone(counted(3, 0, []))] == [(0, 0), (0, 1), (0, 2)]


async def test_a_source_that_fails_ends_all() -> None:
    ended: list[str] = []
    with pytest.raises(ValueError, match="no more"):
        async for _ in merged([counted(1, 0, ended, fails=True), counted(1000, 0.01, ended)]):
            pass
    assert len(ended) == 2


@pytest.mark.parametrize("several", [1, 3])
async def test_whoever_stops_reading_ends_all(several: int) -> None:
    ended: list[str] = []
    sources = [counted(1000, 0.001, ended) for _ in range(several)]
    stream = merged(sources) if several > 1 else alone(sources[0])
    await anext(stream)
    await stream.aclose()
    assert len(ended) == several
