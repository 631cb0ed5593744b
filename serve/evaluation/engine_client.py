"""Asks an engine over HTTP. Raises EngineError for anything but a good answer."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import aiohttp

from variants.errors import EngineError
from variants.home import home
from variants.tasks.requests import Request


@dataclass(frozen=True)
class EngineClient:
    """Asks the model `model` of the engine at `url`. `headers` carry the engine's secret, if it has one."""

    session: aiohttp.ClientSession
    url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)

    async def post(self, request: Request) -> bytes:
        """The body of the answer. Raises EngineError."""
        headers = {**request.headers, **self.headers}
        return await _body(self.session.post(self.url + request.path, data=request.body, headers=headers))

    async def get(self, path: str) -> bytes:
        """The body of the answer. Raises EngineError."""
        return await _body(self.session.get(self.url + path, headers=self.headers))


async def _body(request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> bytes:
    try:
        async with request as response:
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(f"the engine did not answer: {error!r}", mend=f"see its log in {home() / 'logs'}") from error
    if response.status != 200:
        raise EngineError(f"{response.url.path} answered {response.status}: {body[:200].decode(errors='replace')}")
    return body
