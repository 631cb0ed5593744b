"""Tasks that run together and fail as one.

`asyncio.TaskGroup`, but what is raised is the first error itself, so that
who catches our errors need not know that they came from a group.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group; when one of its tasks fails the others are cancelled, and that error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
