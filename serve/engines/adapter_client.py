"""Low-rank adapters of a running engine: loaded and unloaded over HTTP, as vLLM's server has it.

The engine goes on serving meanwhile. Each adapter is a model name of its own there.
"""

from collections.abc import Mapping

import aiohttp

from serve.config.snapshot import LoadedAdapter
from variants.errors import EngineError

LIMIT = aiohttp.ClientTimeout(total=60)


async def load_adapter(url: str, adapter: LoadedAdapter, headers: Mapping[str, str]) -> None:
    """`headers` carry the engine's secret. Raises EngineError in the engine's own words where it refuses."""
    body = {"lora_name": adapter.name, "lora_path": adapter.folder}
    await post(f"{url}/v1/load_lora_adapter", body, adapter.name, headers)


async def unload_adapter(url: str, name: str, headers: Mapping[str, str]) -> None:
    """`headers` carry the engine's secret. Raises EngineError in the engine's own words where it refuses."""
    await post(f"{url}/v1/unload_lora_adapter", {"lora_name": name}, name, headers)


async def post(url: str, body: dict[str, str], name: str, headers: Mapping[str, str]) -> None:
    try:
        async with (
            aiohttp.ClientSession(timeout=LIMIT, headers=headers) as session,
            session.post(url, json=body) as answer,
        ):
            said = await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(f"the engine of adapter {name} did not answer: {error!r}") from error
    if answer.status != 200:
        raise EngineError(f"the engine refused adapter {name}: {answer.status} {said[:300]}")
