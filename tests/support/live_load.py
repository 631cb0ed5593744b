"""A steady load on a server whose variants change meanwhile: every answer is held against what was live."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx


@dataclass
class Load:
    """What came back: statuses, and which artifacts signed the answers of each variant."""

    statuses: Counter[int] = field(default_factory=Counter)
    signed: set[tuple[str, str]] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    stopping: bool = False

    def note(self, answer: httpx.Response, fingerprint: str | None) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code != 200:
            self.broken.append(f"{answer.status_code} {answer.text[:200]}")
            return
        artifact = answer.headers["x-understudy-artifact"]
        if fingerprint != artifact:
            self.broken.append(f"signed by {fingerprint}, headers say {artifact}")
        self.signed.add((answer.headers["x-understudy-variant"], artifact))


@asynccontextmanager
async def steady(url: str, model: str, clients: int, pinned: tuple[str, ...] = ()) -> AsyncIterator[Load]:
    """`clients` closed loops of routed requests, every second one streamed, and one loop for each of `pinned`."""
    load = Load()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        names = [model] * clients + [f"{model}@{variant}" for variant in pinned]
        loops = [asyncio.create_task(loop(http, name, number, load)) for number, name in enumerate(names)]
        try:
            yield load
        finally:
            load.stopping = True
            await asyncio.gather(*loops)


async def loop(http: httpx.AsyncClient, name: str, number: int, load: Load) -> None:
    body = {"model": name, "prompt": "the quick brown fox jumps over", "max_tokens": 6, "ignore_eos": True}
    turn = number
    while not load.stopping:
        turn += 1
        if turn % 2:
            answer = await http.post("/v1/completions", json=body)
            load.note(answer, answer.json().get("system_fingerprint") if answer.status_code == 200 else None)
        else:
            await streamed(http, body, load)


async def streamed(http: httpx.AsyncClient, body: dict[str, object], load: Load) -> None:
    async with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
        text = (await answer.aread()).decode()
        artifact = answer.headers.get("x-understudy-artifact", "")
        whole = text.endswith("data: [DONE]\n\n") and f'"system_fingerprint":"{artifact}"' in text.replace(": ", ":")
        load.note(answer, artifact if whole else text[-300:])
