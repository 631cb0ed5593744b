"""A page of the console in headless Chromium, with all that it did wrong."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from playwright.async_api import Page, async_playwright

from loadtest.harness import ROOT
from variants.errors import MissingDependency

AXE = ROOT / "tests" / "support" / "axe.min.js"
Theme = Literal["light", "dark"]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no other name resolves
)  # fmt: skip
MOST_TABS = 80
SHIFTS = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(each => { if (!each.hadRecentInput) sum += each.value }))
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 300);
})"""
TIMES = """() => {
  const page = performance.getEntriesByType('navigation')[0];
  const paint = performance.getEntriesByName('first-contentful-paint')[0];
  return [page.responseStart - page.requestStart, paint ? paint.startTime : null];
}"""


class Watched:
    """A page with its console errors and its requests to other addresses than `base`."""

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

    async def submit(self) -> None:
        """Press Enter, and wait for the page that follows."""
        async with self.page.expect_navigation():
            await self.page.keyboard.press("Enter")

    async def serious(self) -> list[str]:
        """The rules of axe-core that the page breaks seriously."""
        await self.page.evaluate(AXE.read_text())
        result = await self.page.evaluate("axe.run()")
        return [rule["id"] for rule in result["violations"] if rule["impact"] in ("serious", "critical")]

    async def measured(self, path: str) -> dict[str, Any]:
        """Open a page anew. Times in milliseconds; `overflow` is how many pixels it is wider than the window."""
        self.errors.clear()
        self.outside.clear()
        await self.open(path)
        server_ms, paint_ms = await self.page.evaluate(TIMES)
        wide = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return {
            "path": path,
            "server_ms": round(server_ms, 1),
            "first_paint_ms": None if paint_ms is None else round(paint_ms, 1),
            "layout_shift": round(await self.page.evaluate(SHIFTS), 4),
            "overflow": max(0, wide),
            "axe_serious": await self.serious(),
            "console_errors": list(self.errors),
            "outside_requests": list(self.outside),
        }


@asynccontextmanager
async def browsing(base: str, width: int = 1280, theme: Theme = "light") -> AsyncIterator[Watched]:
    """A new browser. Raises MissingDependency without Chromium."""
    program = shutil.which("chromium")
    if program is None:
        raise MissingDependency("chromium is not installed", mend="apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = await browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        try:
            yield Watched(page, base)
        finally:
            await browser.close()
