"""One server without Ray for the tests of single doors: real engines, real HTTP."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from serve.ports import free_port
from tests.support.local_stage import Local, local
from tests.support.scripted import make_stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Local]:
    """`echo`, `bands` and `near` behind the ingress; see `tests.support.scripted`."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(home))
        async with local(home, make_stack(free_port())) as served:
            yield served
