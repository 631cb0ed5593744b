"""A question to an engine by HTTP, and its good answer; whatever else comes is one clear error."""

from contextlib import AbstractAsyncContextManager

import aiohttp

from serve.protocols.open_inference import HEADER_LENGTH
from variants.errors import EngineError
from variants.home import home


async def answered(asked: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> tuple[bytes, str | None]:
    """The body of a good answer, and the length of its JSON head where binary tensors follow one.

    Raises EngineError where the engine refuses, goes away or does not answer.
    """
    try:
        async with asked as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineError(f"the engine did not answer: {error!r}", mend=f"see its log in {home() / 'logs'}") from error
    if answer.status != 200:
        raise EngineError(f"{answer.url.path} answered {answer.status}: {body[:200].decode(errors='replace')}")
    return body, answer.headers.get(HEADER_LENGTH)
