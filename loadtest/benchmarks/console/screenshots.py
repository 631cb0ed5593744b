"""`make screenshots`: pictures of the console's pages for the docs, of a real server with the demo's stack.

The pages are shown after some requests, so that they have figures. Each picture is a PNG of less than 300 kB in
`docs/console/`. It takes about two minutes, and the models' build the first time.
"""

import argparse
import asyncio
from contextlib import ExitStack
from pathlib import Path

import httpx

from loadtest.benchmarks.console.browser import browsing
from loadtest.benchmarks.console.tasks import try_prompt
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words, start_server
from serve.ports import free_port

STACK = ROOT / "deploy" / "stacks" / "demo.yaml"
OUT = ROOT / "docs" / "console"
MODEL = "smollm2"
PAGES = {"fleet": "/", "model": f"/models/{MODEL}", "traffic": f"/models/{MODEL}/traffic"}
REQUESTS = 40
MOST_BYTES = 300_000


async def take(url: str, pages: dict[str, str], out: Path) -> list[Path]:
    """A picture of each page, 1,280 pixels wide. `pages` has addresses by name."""
    async with browsing(url) as seen:
        paths = []
        for name, path in pages.items():
            await seen.open(path)
            paths.append(out / f"{name}.png")
            await seen.page.screenshot(path=paths[-1])
    return paths


async def take_all(url: str, out: Path) -> list[Path]:
    """All pictures, after requests that give the pages figures."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 16}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for number in range(REQUESTS):
            answer = await client.post("/v1/chat/completions", json={**body, "user": f"client {number}"})
            answer.raise_for_status()
    paths = await take(url, PAGES, out)
    async with browsing(url) as seen:
        await try_prompt(seen, MODEL)
        paths.append(out / "try.png")
        await seen.page.screenshot(path=paths[-1])
    return paths


def check_sizes(paths: list[Path]) -> None:
    """Raises LoadError for pictures that are too large for the repository."""
    large = [f"{path.name}: {path.stat().st_size:,} bytes" for path in paths if path.stat().st_size >= MOST_BYTES]
    if large:
        raise LoadError(f"pictures of {MOST_BYTES:,} bytes or more: {', '.join(large)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--stack", type=Path, default=STACK)
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with ExitStack() as children:
        url = start_server(children, options.stack, free_port(), ROOT / "out" / "console" / "state")
        paths = asyncio.run(take_all(url, OUT))
    check_sizes(paths)
    print("\n".join(f"wrote {path}" for path in paths))


if __name__ == "__main__":
    with ends_in_words("screenshots"):
        main()
