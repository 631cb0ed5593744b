"""`make console-check`: the console in headless Chromium against a real server with the demo's stack.

A person's tasks are done first, by keyboard, so that the pages have content: a rollout, pairs that differ (the server
keeps answers, which the stack file alone does not ask for), a campaign. Then each page is opened in light and dark, at
360, 1,280 and 2,560 pixels. Last comes the fleet page of 500 variants without engines (`large_fleet`). The check writes
`out/console/console.json`, and fails where a page or a task is not as it has to be. Times are told, and fail nothing:
machines differ. It takes about eight minutes, and the models' build the first time.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import httpx
import yaml

from loadtest.benchmarks.console import large_fleet
from loadtest.benchmarks.console.browser import Theme, browsing
from loadtest.benchmarks.console.tasks import (
    LOAD,
    follow_rollout,
    keep_pairs,
    move_traffic,
    run_campaign,
    try_prompt,
)
from loadtest.benchmarks.figures import write_figures
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words, start_server
from serve.ports import free_port

STACK = ROOT / "deploy" / "stacks" / "demo.yaml"
OUT = ROOT / "out" / "console"
WIDTHS = (360, 1280, 2560)
TEXT, EMBEDDER = "smollm2", "minilm"
CAMPAIGN = "shadow"
"""The shortest of `loadtest/campaigns`, whose model the stack has."""
MOST_SHIFT = 0.1


def keeping(stack: Path, out: Path) -> Path:
    """The stack file with `keep_answers` for its text model, written to `out`."""
    document = yaml.safe_load(stack.read_text())
    document["models"][TEXT]["keep_answers"] = {"days": 7}
    path = out / "stack.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


async def check(url: str, widths: Sequence[int] = WIDTHS) -> dict[str, Any]:
    """All tasks, then all pages."""
    tasks: list[dict[str, Any]] = []

    async def do(name: str, work: Awaitable[str]) -> str:
        began, detail, passed = time.monotonic(), "", True
        try:
            detail = await work
        except Exception as error:  # a task that fails is a figure of this check, whatever it fails by
            detail, passed = f"{type(error).__name__}: {error}", False
        task = {"name": name, "passed": passed, "seconds": round(time.monotonic() - began, 1), "detail": detail}
        tasks.append(task)
        print(f"{name}: {'passed' if passed else 'FAILED'}, {detail}", file=sys.stderr, flush=True)
        return detail if passed else ""

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        async with browsing(url) as seen:
            await do("traffic to 50/50 by keyboard", move_traffic(seen, client, EMBEDDER))
            await do("a rollout from start to report", follow_rollout(seen, client, EMBEDDER))
            await do("try it, streams side by side", try_prompt(seen, TEXT))
            await do("pairs that differ are kept", keep_pairs(client, TEXT, "int8"))
            run = await do("a campaign from start to report", run_campaign(seen, CAMPAIGN))
        rollouts = (await client.get(f"/admin/v1/models/{EMBEDDER}/rollouts")).json()["rollouts"]
    measured = await pages(url, [*paths_of([each["id"] for each in rollouts[:1]]), *load_paths(run)], widths)
    return {"pages": measured, "tasks": tasks, "large_fleet": await large_fleet.measure()}


def paths_of(rollouts: Sequence[str]) -> list[str]:
    """The pages of the console, those of these rollouts of EMBEDDER among them."""
    paths = ["/", "/try", "/sign-in"]
    paths += [f"/models/{TEXT}{below}" for below in ("", "/traffic", "/pairs", "/pairs/rate")]
    return paths + [f"/models/{EMBEDDER}/rollouts/{each}{below}" for each in rollouts for below in ("", "/report")]


def load_paths(run: str) -> list[str]:
    """The pages of load campaigns. `run` is the path of a complete run; empty: there is none."""
    if not run:
        return [LOAD]
    name = run.rpartition("/")[2]
    return [LOAD, f"{run}/report", f"{LOAD}/compare?first={name}&second={name}"]


async def pages(url: str, paths: list[str], widths: Sequence[int]) -> list[dict[str, Any]]:
    measured = []
    for theme in get_args(Theme):
        for width in widths:
            async with browsing(url, width, theme) as seen:
                for path in paths:
                    page = await seen.measured(path)
                    measured.append(page | {"theme": theme, "width": width})
                    times = f"server {page['server_ms']} ms, first paint {page['first_paint_ms']} ms"
                    print(f"{path} {theme} {width}: {times}", file=sys.stderr, flush=True)
    return measured


def faults(figures: dict[str, Any]) -> list[str]:
    """What is not as it has to be."""
    wrong = [f"{task['name']}: {task['detail']}" for task in figures["tasks"] if not task["passed"]]
    for page in figures["pages"]:
        here = f"{page['path']} ({page['theme']}, {page['width']})"
        wrong += [
            f"{here}: {name} {page[name]}"
            for name in ("axe_serious", "console_errors", "outside_requests", "overflow")
            if page[name]
        ]
        if page["layout_shift"] > MOST_SHIFT:
            wrong.append(f"{here}: layout shift {page['layout_shift']}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="make console-check", description=__doc__)
    parser.add_argument("--stack", type=Path, default=STACK)
    options = parser.parse_args()
    with ExitStack() as children:
        OUT.mkdir(parents=True, exist_ok=True)
        url = start_server(children, keeping(options.stack, OUT), free_port(), OUT / "state")
        figures = asyncio.run(check(url))
    path = OUT / "console.json"
    write_figures(path, figures)
    slowest = max(figures["pages"], key=lambda page: page["server_ms"])
    print(f"wrote {path}; the slowest page took {slowest['server_ms']} ms of the server ({slowest['path']})")
    large = figures["large_fleet"]
    print(f"the fleet page of {large['variants']} variants: {large['ms']} ms, {large['bytes']:,} bytes")
    if wrong := faults(figures):
        raise LoadError("the console is not as it has to be:\n" + "\n".join(wrong))


if __name__ == "__main__":
    with ends_in_words("console-check"):
        main()
