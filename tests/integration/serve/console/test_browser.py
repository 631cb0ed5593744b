"""The console in headless Chromium: by keyboard alone, in light and dark, from 360 pixels on, and without a fault."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks.console import browser
from loadtest.benchmarks.console.browser import Theme, Watched
from tests.integration.serve.console.conftest import PLAN
from tests.integration.serve.shadow import test_opinions as opinions
from tests.support.labelled_load import labelled
from tests.support.local_stage import Local, local
from tests.support.programs import need

pytestmark = pytest.mark.integration
LIMIT_S = 60.0
RATED = 3
PAGES = ("/", "/models/echo", "/models/echo/traffic", "/try", "/pages/load", "/sign-in")


@asynccontextmanager
async def browsing(served: Local, width: int = 1280, theme: Theme = "light") -> AsyncIterator[Watched]:
    need("chromium")
    async with browser.browsing(str(served.client.base_url).rstrip("/"), width, theme) as seen:
        yield seen


async def test_traffic_goes_from_90_to_50_by_keyboard_alone(served: Local) -> None:
    async with browsing(served) as seen:
        await seen.open("/models/echo/traffic")
        await seen.enter("share-baseline", "50")
        assert await seen.page.locator("#sum").inner_text() == "60"
        await seen.enter("share-int8", "50")
        await seen.submit()
        await seen.enter("why", "by keyboard")
        await seen.submit()
        assert "is in force" in await seen.page.locator("[role=status]").inner_text()
        assert (seen.errors, seen.outside) == ([], [])
    answered: Counter[str] = Counter()
    for number in range(400):
        body = {"model": "echo", "prompt": "a", "max_tokens": 1, "user": f"client {number}"}
        answered[(await served.client.post("/v1/completions", json=body)).headers["x-understudy-variant"]] += 1
    assert 150 < answered["int8"] < 250


@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (1280, "light"), (2560, "dark")])
async def test_each_page_is_whole(served: Local, width: int, theme: Theme) -> None:
    assert (await served.client.post("/admin/v1/models/echo/rollout", json=PLAN)).status_code == 200
    name = (await served.client.get("/admin/v1/models/echo/rollouts")).json()["rollouts"][0]["id"]
    rollout = f"/models/echo/rollouts/{name}"
    async with labelled(str(served.client.base_url), "echo", 1), asyncio.timeout(LIMIT_S):
        while "evidence/quality.svg" not in (await served.client.get(rollout)).text:
            await asyncio.sleep(0.2)
    async with browsing(served, width, theme) as seen:
        for path in (*PAGES, rollout, f"{rollout}/report"):
            await seen.open(path)
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width, path
            pictures = await seen.page.evaluate("[...document.images].map(image => image.naturalWidth)")
            assert all(pictures), path
            assert await seen.serious() == [], path
        assert (seen.errors, seen.outside) == ([], [])


async def test_the_fleet_follows_without_a_reload_and_keeps_the_focus(served: Local) -> None:
    async with browsing(served) as seen:
        await seen.open("/")
        await seen.tab_to("m-echo")
        await served.client.post("/v1/completions", json={"model": "echo", "prompt": "a", "max_tokens": 1})
        await seen.page.get_by_text("No request has been answered yet").wait_for(state="detached", timeout=30_000)
        assert await seen.page.evaluate("document.activeElement.id") == "m-echo"
        assert (seen.errors, seen.outside) == ([], [])


async def test_answers_stream_side_by_side(served: Local) -> None:
    async with browsing(served) as seen:
        await seen.open("/try")
        await seen.enter("prompt", "one two three")
        await seen.enter("tokens", "4")
        await seen.page.keyboard.press("Enter")
        await seen.page.get_by_text("All answers are complete.").wait_for(timeout=30_000)
        tiles = await seen.page.locator(".tile").all_inner_texts()
        assert ["baseline" in tiles[0], "int8" in tiles[1]] == [True, True]
        assert all("4 tokens" in each for each in tiles)
        assert all(await seen.page.locator(".answer").all_inner_texts())
        marked = "mark({answer: document.querySelector('.answer')}, ['a', 'blue', 'sky'], ['a', 'grey', 'sky'])"
        await seen.page.evaluate(marked)
        assert await seen.page.locator(".answer").first.inner_html() == "a <mark>blue</mark> sky "
        assert (seen.errors, seen.outside) == ([], [])


async def test_pairs_are_rated_blind_by_keyboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = opinions.family_of(tmp_path, errs=0.4)
    stack = opinions.stack_of(family, keep_answers={"days": 7})
    async with local(tmp_path, stack, family.artifacts) as served:
        assert (await served.client.post(opinions.ROLLOUT, json=opinions.PLAN)).status_code == 200
        await opinions.ask(served.client)
        async with asyncio.timeout(LIMIT_S):
            while len(await pairs_of(served)) < RATED + 1:
                await asyncio.sleep(0.1)
        async with browsing(served, 360, "dark") as seen:
            await seen.open("/models/echo/pairs")
            assert await seen.page.locator(".pair").count() > 0
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= 360
            assert await seen.serious() == []
            await seen.open("/models/echo/pairs/rate?variant=int8")
            assert await seen.serious() == []
            for pressed in ("4", "1", "ArrowRight", "3"):
                async with seen.page.expect_navigation():
                    await seen.page.keyboard.press(pressed)
            assert "Your opinion counts" in await seen.page.locator("[role=status]").inner_text()
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= 360
            assert (seen.errors, seen.outside) == ([], [])
        rated = [each for each in await pairs_of(served) if each["by"] == "person"]
        assert sorted(abs(each["outcome"]) for each in rated) == [0, 1, 1]
        await opinions.until(served.client, lambda answer: answer["opinions"]["by"]["person"] == RATED)


async def pairs_of(served: Local) -> list[dict[str, Any]]:
    answer = await served.client.get(opinions.PAIRS)
    return list(answer.json()["pairs"])
