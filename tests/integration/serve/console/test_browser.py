"""The console in headless Chromium: by keyboard alone, in light and dark, from 360 pixels on, and without a fault."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.integration.loadtest.test_report_page import FLAGS
from tests.integration.serve.console.conftest import PLAN
from tests.support.labelled_load import labelled
from tests.support.local_stage import Local
from tests.support.programs import need

pytestmark = pytest.mark.integration
AXE = Path(__file__).parents[3] / "support" / "axe.min.js"
MOST_TABS = 80
LIMIT_S = 60.0


class Watched:
    """A page with its console errors and its requests to other addresses."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.note(request.url))

    def note(self, url: str) -> None:
        if not url.startswith((f"{self.base}/", "data:")):
            self.outside.append(url)

    async def open(self, path: str) -> None:
        answer = await self.page.goto(f"{self.base}{path}", wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200, path

    async def tab_to(self, name: str) -> None:
        """Press the tabulator until the element with this id has the focus."""
        for _ in range(MOST_TABS):
            if await self.page.evaluate("document.activeElement.id") == name:
                return
            await self.page.keyboard.press("Tab")
        raise AssertionError(f"no key leads to {name}")

    async def enter(self, name: str, text: str) -> None:
        await self.tab_to(name)
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.type(text)


@asynccontextmanager
async def browsing(served: Local, width: int = 1280, scheme: str = "light") -> AsyncIterator[Watched]:
    flags = [flag for flag in FLAGS if not flag.startswith(("--window-size", "--host-resolver-rules"))]
    flags.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=need("chromium"), args=flags)
        page = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        try:
            yield Watched(page, str(served.client.base_url).rstrip("/"))
        finally:
            await browser.close()


async def test_traffic_goes_from_90_to_50_by_keyboard_alone(served: Local) -> None:
    async with browsing(served) as seen:
        await seen.open("/models/echo/traffic")
        await seen.enter("share-baseline", "50")
        assert await seen.page.locator("#sum").inner_text() == "60"
        await seen.enter("share-int8", "50")
        async with seen.page.expect_navigation():
            await seen.page.keyboard.press("Enter")
        await seen.enter("why", "by keyboard")
        async with seen.page.expect_navigation():
            await seen.page.keyboard.press("Enter")
        assert "is in force" in await seen.page.locator("[role=status]").inner_text()
        assert (seen.errors, seen.outside) == ([], [])
    answered: Counter[str] = Counter()
    for number in range(400):
        body = {"model": "echo", "prompt": "a", "max_tokens": 1, "user": f"client {number}"}
        answered[(await served.client.post("/v1/completions", json=body)).headers["x-understudy-variant"]] += 1
    assert 150 < answered["int8"] < 250


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light"), (2560, "dark")])
async def test_each_page_is_whole(served: Local, width: int, scheme: str) -> None:
    assert (await served.client.post("/admin/v1/models/echo/rollout", json=PLAN)).status_code == 200
    name = (await served.client.get("/admin/v1/models/echo/rollouts")).json()["rollouts"][0]["id"]
    rollout = f"/models/echo/rollouts/{name}"
    async with labelled(str(served.client.base_url), "echo", 1), asyncio.timeout(LIMIT_S):
        while "evidence/quality.svg" not in (await served.client.get(rollout)).text:
            await asyncio.sleep(0.2)
    async with browsing(served, width, scheme) as seen:
        for path in ("/", "/models/echo", "/models/echo/traffic", rollout, f"{rollout}/report", "/try", "/sign-in"):
            await seen.open(path)
            assert await seen.page.evaluate("document.documentElement.scrollWidth") <= width, path
            pictures = await seen.page.evaluate("[...document.images].map(image => image.naturalWidth)")
            assert all(pictures), path
            if not path.endswith("report"):
                assert await serious(seen.page) == [], path
        assert (seen.errors, seen.outside) == ([], [])


async def serious(page: Page) -> list[str]:
    """The rules of axe-core that the page breaks seriously."""
    await page.evaluate(AXE.read_text())
    result = await page.evaluate("axe.run()")
    return [rule["id"] for rule in result["violations"] if rule["impact"] in ("serious", "critical")]


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
