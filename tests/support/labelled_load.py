"""A steady labelled load on the scripted engine: each prompt names its label, which an engine that does not err
answers."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

LABELS = (" pos", " neg")
BIAS = {int.from_bytes(b"\1" + label.encode(), "big"): 100 for label in LABELS}

NUMBERS = itertools.count()


@dataclass
class Labelled:
    statuses: Counter[int] = field(default_factory=Counter)
    variants: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    stopping: bool = False


@asynccontextmanager
async def labelled(url: str, model: str, clients: int, pause_s: float = 0.05) -> AsyncIterator[Labelled]:
    """`clients` closed loops of routed requests, no two alike, whatever the load. Once the load is `stopping`, a server
    that is killed may cut off what is on its way."""
    load = Labelled()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def loop(client: int) -> None:
            while not load.stopping:
                number = next(NUMBERS)
                label = LABELS[number % 2]
                body = {
                    "model": model,
                    "prompt": f"number {number} is{label}",
                    "max_tokens": 1,
                    "temperature": 0,
                    "logit_bias": BIAS,
                }
                try:
                    answer = await http.post(
                        "/v1/completions", json=body, headers={"x-understudy-label": label.strip()}
                    )
                except httpx.RemoteProtocolError:
                    if load.stopping:
                        return
                    raise
                load.statuses[answer.status_code] += 1
                load.variants[answer.headers.get("x-understudy-variant", "")] += 1
                load.ids.append(answer.headers.get("x-understudy-id", ""))
                await asyncio.sleep(pause_s)

        loops = [asyncio.create_task(loop(client)) for client in range(clients)]
        try:
            yield load
        finally:
            load.stopping = True
            await asyncio.gather(*loops)
