"""What an engine asks of Ray, and the time limit of a call to its deployment."""

import asyncio

import pytest

from serve.cluster.deployer import actor_options, in_time
from serve.config.resources import NOTHING, Resources
from variants.errors import EngineError


async def test_a_deployment_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"echo\.int8 did not answer within 0\.05 s"):
        await in_time("echo.int8", lambda: asyncio.sleep(3600), 0.05)
    assert await in_time("echo.int8", lambda: asyncio.sleep(0, "there"), 5) == "there"


def test_ray_reserves_what_an_engine_asks_for_and_else_nothing() -> None:
    assert actor_options(NOTHING) == {"num_cpus": 0}
    asked = Resources(gpus=0.5, cpus=2, memory_mib=4096)
    assert actor_options(asked) == {"num_cpus": 2, "num_gpus": 0.5, "memory": 4096 * 2**20}
