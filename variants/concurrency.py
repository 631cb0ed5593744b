"""A task group that raises the first error itself.

`asyncio.TaskGroup` raises an ExceptionGroup. Callers catch UnderstudyError, and this keeps that possible.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group. When one of its tasks fails, the others are cancelled and that error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
