"""What a person does in the console, by keyboard: move traffic, follow a rollout, try a prompt, run a campaign."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from loadtest.benchmarks.console.browser import Watched
from serve.client.client import Client

ASSIGNED = 1000
LIMIT_S = 300.0
"""Detects a hang."""
PLAN: dict[str, Any] = {
    "variant": "int8",
    "steps": ["shadow"],
    "shadow": 1.0,
    "hold_s": 1.0,
    "watch_s": 0,
    "gate": {"quality": None, "agreement": 0.05, "guard": None},
}
"""A rollout of an embedder, by agreement alone, which ends within a minute or two."""
NUMBERS = itertools.count()
KEPT = 3
LOAD = "/pages/load"


async def move_traffic(seen: Watched, client: httpx.AsyncClient, model: str) -> str:
    """From its shares to 50 and 50, by keyboard alone. The next clients must follow."""
    weights = (await client.get(f"/admin/v1/models/{model}/traffic")).json()["traffic"]["weights"]
    wanted = {variant: 50 if variant in ("baseline", "int8") else 0 for variant in weights}
    await seen.open(f"/models/{model}/traffic")
    for variant, share in wanted.items():
        await seen.enter(f"share-{variant}", str(share))
    await seen.submit()
    await seen.enter("why", "console-check")
    await seen.submit()
    said = await seen.page.locator("[role=status]").inner_text()
    assert "is in force" in said, said
    answered: Counter[str] = Counter()
    for number in range(ASSIGNED):
        body = {"model": model, "input": "a", "user": f"client {number}"}
        answer = await client.post("/v1/embeddings", json=body)
        answered[answer.headers["x-understudy-variant"]] += 1
    assert set(answered) == {"baseline", "int8"}, answered
    assert abs(answered["int8"] - ASSIGNED / 2) < 4 * (ASSIGNED / 4) ** 0.5, answered  # four standard deviations
    return f"{answered['int8']} of {ASSIGNED} clients got int8"


async def follow_rollout(seen: Watched, client: httpx.AsyncClient, model: str) -> str:
    """Watch a rollout from its start to its verdict, then open its report."""
    begun = await client.post(f"/admin/v1/models/{model}/rollout", json=PLAN)
    begun.raise_for_status()
    await seen.open(f"/models/{model}")
    async with embedding(client, model), asyncio.timeout(LIMIT_S):
        await seen.open(f"/models/{model}/rollouts/{begun.json()['id']}")
        ended = seen.page.get_by_text("promoted").or_(seen.page.get_by_text("rolled back"))
        await ended.first.wait_for(timeout=1000 * LIMIT_S)
    path = f"/models/{model}/rollouts/{begun.json()['id']}/report"
    await seen.open(path)
    status = (await client.get(f"/admin/v1/models/{model}/rollout")).json()["rollout"]["status"]
    assert status in await seen.page.inner_text("body")
    return str(status)


@asynccontextmanager
async def embedding(client: httpx.AsyncClient, model: str) -> AsyncIterator[None]:
    """Routed requests, one at a time, no two alike, with pauses in which replays find room."""

    async def load() -> None:
        while True:
            text = f"article {next(NUMBERS)}: wheat, gold and oil at {next(NUMBERS)} dollars"
            await client.post("/v1/embeddings", json={"model": model, "input": [text, "a merger", "a harvest"]})
            await asyncio.sleep(0.05)

    task = asyncio.create_task(load())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def try_prompt(seen: Watched, model: str) -> str:
    """One prompt to all variants of a text model, which stream side by side."""
    await seen.open("/try")
    await seen.page.select_option("#model", model)
    await seen.enter("prompt", "The capital of France is")
    await seen.enter("tokens", "16")
    await seen.page.keyboard.press("Enter")
    await seen.page.get_by_text("All answers are complete.").wait_for(timeout=1000 * LIMIT_S)
    tiles = await seen.page.locator(".tile").all_inner_texts()
    assert len(tiles) >= 2, tiles
    assert all(await seen.page.locator(".answer").all_inner_texts()), tiles
    return f"{len(tiles)} answers"


async def keep_pairs(client: httpx.AsyncClient, model: str, variant: str) -> str:
    """Have a variant answer in shadow what its parent was asked, until KEPT pairs that differ are kept."""
    steer, kept = Client(str(client.base_url).rstrip("/")), 0
    await asyncio.to_thread(steer.change_traffic, model, shadows={variant: 1.0}, why="console-check")
    try:
        async with asyncio.timeout(LIMIT_S):
            while kept < KEPT:
                body = {
                    "model": model,
                    "prompt": f"{next(NUMBERS)} years ago, a ship",
                    "max_tokens": 32,
                    "temperature": 0,
                }
                (await client.post("/v1/completions", json=body)).raise_for_status()
                await asyncio.sleep(0.2)  # in which a replay finds room
                pairs = await client.get(f"/admin/v1/models/{model}/pairs", params={"variant": variant})
                kept = len(pairs.raise_for_status().json()["pairs"])
    finally:
        await asyncio.to_thread(steer.change_traffic, model, shadows={variant: 0.0}, why="console-check")
    return f"{kept} pairs that differ"


async def run_campaign(seen: Watched, name: str) -> str:
    """Start a campaign, watch it to its end, and open its report. Gives the run's path."""
    await seen.open(LOAD)
    await seen.page.select_option("#campaign", name)
    await seen.tab_to("begin")
    await seen.submit()
    await seen.page.get_by_text(f"{name} runs").wait_for()
    await seen.page.get_by_text("No campaign runs.").wait_for(timeout=1000 * LIMIT_S)
    report = await seen.page.locator("#report-1").get_attribute("href")
    assert report is not None
    await seen.open(report)
    assert f"Campaign {name}" in await seen.page.inner_text("body")
    return report.removesuffix("/report")
