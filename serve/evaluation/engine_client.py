"""Asks an engine over HTTP. Raises EngineError for anything but a good answer."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import aiohttp

from variants.errors import EngineError
from variants.home import home
from variants.tasks.requests import Request


@dataclass(frozen=True)
class EngineClient:
    """Asks the model `model` of the engine at `url`."""

    session: aiohttp.ClientSession
    url: str
    model: str

    async def post(self, request: Request) -> bytes:
        """The body of the answer. Raises EngineError."""
        return await _body(self.session.post(self.url + request.path, data=request.body, headers=request.headers))

    async def get(self, path: str) -> bytes:
        """The body of the answer. Raises EngineError."""
        return await _body(self.session.get(self.url + path))


async def _body(request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> bytes:
    try:
        async with request as response:
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(f"the engine did not answer: {error!r}", mend=f"see its log in {home() / 'logs'}") from error
    if response.status != 200:
        raise EngineError(f"{response.url.path} answered {response.status}: {body[:200].decode(errors='replace')}")
    return body
