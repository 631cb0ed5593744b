"""A short load measures each variant through the server, and says which one does not answer."""

import asyncio
from pathlib import Path

import pytest

from serve.client.short_load import REQUESTS, short_load
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack, make_artifacts, with_variants
from variants.errors import EngineError
from variants.tasks import Example

pytestmark = pytest.mark.integration
EXAMPLES = [Example("a", "one two three", "x"), Example("b", "four five", "x")]


async def test_each_variant_is_measured_by_itself(tmp_path: Path) -> None:
    slow = {"weight": 0, "engine": {"kind": "scripted", "first_token_s": 0.05}}
    stack = with_variants(echo_stack(free_port()), "echo", {"baseline": {"weight": 1}, "int8": slow})
    async with local(tmp_path, stack, make_artifacts(tmp_path, stack)) as served:
        url = str(served.client.base_url)
        waits = await asyncio.to_thread(short_load, url, "echo", ["baseline", "int8"], EXAMPLES)
        assert [len(each.ttft) for each in waits.values()] == [REQUESTS, REQUESTS]
        assert min(waits["int8"].ttft) >= 0.05
        assert all(first <= last for each in waits.values() for first, last in zip(*each, strict=True))
        with pytest.raises(EngineError, match=r"echo@int4 at http.* did not answer"):
            await asyncio.to_thread(short_load, url, "echo", ["int4"], EXAMPLES)
