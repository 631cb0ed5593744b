"""`make bench-console`: what an open page of the console costs the server in CPU time, under load.

The server runs on scripted engines, and clients stream from it without end. Rounds without a page and rounds with open
pages take turns. An open page reads the fleet every five seconds, as a browser does. Counted is the CPU time of the
ingress, which also makes the pages, of HAProxy and of the controller, for each thousand streamed tokens.

One open page adds too little to be seen beside the noise of a round. So several are open at once, and the figure is a
single one's part, with Student's t interval over the pairs of rounds. It takes about seven minutes, and ends with one
JSON document, `out/console/cpu.json`.
"""

import argparse
import asyncio
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import httpx

from loadtest.benchmarks.figures import write_figures
from loadtest.benchmarks.hostile import start_scripted, streaming
from loadtest.benchmarks.shadow_overhead import mean_ratio
from loadtest.benchmarks.start_and_idle import Readings
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words
from variants.progress import for_stream

OUT = ROOT / "out" / "console"
ROLES = ("the ingress", "HAProxy", "our controller")
POLL_S = 5.0
"""`polled` in serve/console/templates/parts.html.j2."""
BROWSER = {"hx-request": "true"}


@dataclass(frozen=True)
class Plan:
    """`pairs` of rounds of `seconds` each. `streams` clients stream, and `pages` are open in every second round."""

    pairs: int = 12
    seconds: float = 15.0
    streams: int = 16
    pages: int = 10


@dataclass(frozen=True)
class Round:
    """CPU seconds by role, the tokens that were streamed, and how many times a page was read."""

    cpu_s: dict[str, float]
    tokens: int
    pages_read: int

    @property
    def cost(self) -> float:
        """CPU seconds for a thousand tokens."""
        return 1000 * sum(self.cpu_s.values()) / self.tokens


async def open_pages(url: str, pages: int, seconds: float) -> int:
    """Keep so many pages open for so long. Gives how often one was read. Raises LoadError where one is refused."""
    read = 0

    async def one(client: httpx.AsyncClient, number: int) -> None:
        nonlocal read
        await asyncio.sleep(POLL_S * number / pages)
        while True:
            answer = await client.get("/", headers=BROWSER)
            if answer.status_code != 200:
                raise LoadError(f"the console answered {answer.status_code}", mend="see the server's log")
            read += 1
            await asyncio.sleep(POLL_S)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), httpx.AsyncClient(base_url=url, timeout=60) as client:
            await asyncio.gather(asyncio.Event().wait(), *(one(client, number) for number in range(pages)))
    return read


def measure_round(url: str, readings: Readings, tokens: "Synchronized[int]", pages: int, seconds: float) -> Round:
    """One round with so many open pages."""
    before, streamed = readings.take(), tokens.value
    read = asyncio.run(open_pages(url, pages, seconds))
    after = readings.take()
    cpu_s = {role: round(after.get(role, 0.0) - before.get(role, 0.0), 2) for role in ROLES}
    return Round(cpu_s, tokens.value - streamed, read)


def measure(url: str, pid: int, plan: Plan) -> dict[str, Any]:
    """All pairs of rounds on a running server whose process is `pid`, in alternating order. Raises LoadError."""
    with streaming(url, plan.streams) as (_, tokens):
        return compared(url, pid, plan, tokens)


def compared(url: str, pid: int, plan: Plan, tokens: "Synchronized[int]") -> dict[str, Any]:
    readings, pairs = Readings(pid), list[dict[str, Any]]()
    measure_round(url, readings, tokens, plan.pages, plan.seconds)  # the first page loads templates, and is not counted
    with for_stream().step("pairs of rounds", total=plan.pairs) as step:
        for number in range(plan.pairs):
            rounds = {
                pages: measure_round(url, readings, tokens, pages, plan.seconds)
                for pages in ((0, plan.pages) if number % 2 else (plan.pages, 0))
            }
            without, with_pages = rounds[0], rounds[plan.pages]
            pairs.append(
                {"without": asdict(without), "with": asdict(with_pages), "ratio": with_pages.cost / without.cost}
            )
            step.to(len(pairs))
    ratio = mean_ratio([pair["ratio"] for pair in pairs])
    added = {name: round((value - 1) / plan.pages, 5) for name, value in asdict(ratio).items()}
    return {"plan": asdict(plan), "pairs": pairs, "ratio": asdict(ratio), "one_page_adds": added}


def sentence(figures: dict[str, Any]) -> str:
    plan, added, ratio = figures["plan"], figures["one_page_adds"], figures["ratio"]
    one, low, high = (f"{100 * added[name]:.2f} %" for name in ("value", "low", "high"))
    return (
        f"CPU time with {plan['pages']} open pages over none: {ratio['value']:.3f} ({ratio['low']:.3f} to "
        f"{ratio['high']:.3f}); one adds {one} ({low} to {high}), "
        f"{plan['pairs']} pairs of rounds of {plan['seconds']:g} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-console", description="What an open page costs the server.")
    parser.add_argument("--pairs", type=int, default=Plan.pairs, help="pairs of rounds, two or more")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    out, plan = given.out.resolve(), Plan(pairs=given.pairs)
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as children:
        url, pid = start_scripted(children, out / "home", "token_s=0.02")
        figures = measure(url, pid, plan)
    write_figures(out / "cpu.json", figures)
    print(sentence(figures))


if __name__ == "__main__":
    with ends_in_words("bench-console"):
        main()
