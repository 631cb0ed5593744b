"""A call to an engine's deployment has a time limit."""

import asyncio

import pytest

from serve.cluster.deployer import in_time
from variants.errors import EngineError


async def test_a_deployment_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"echo\.int8 did not answer within 0\.05 s"):
        await in_time("echo.int8", lambda: asyncio.sleep(3600), 0.05)
    assert await in_time("echo.int8", lambda: asyncio.sleep(0, "there"), 5) == "there"
