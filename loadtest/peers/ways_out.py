"""How much of an engine's output reaches a client, by the way its bytes take out of the server.

Generating a token costs the engine the same whichever way it leaves; what differs is the CPU spent on each streamed
chunk between engine and client. So the engine has core 0 for itself, and everything else (the engine's HTTP front end,
relay, Ray, HAProxy, and this load) shares core 1: a way that spends more there delivers less as soon as core 1 is full.

Ways: `bare` is vLLM's own server. `uvicorn-...` is a minimal relay (relays.py) before that very server, `ray-relay` the
same relay as a Ray Serve ingress behind HAProxy. `handle` and `direct` are ray.serve.llm with an engine of its own, as
it comes and with direct streaming. Only what is measured runs: the rest is paused. One round measures every way at
every number of clients, in an order that rotates; a way's ratio is to `bare` in the same round.

    python -m loadtest.peers.ways_out --model-dir DIR [--ways ...] [--rounds 3]
    python -m loadtest.peers.ways_out --attach PID --bare PORT:MODEL --way NAME=PORT:MODEL    a server that runs already

A burst during which anything else used the machine is repeated. With `--attach`, the processes below PID are pinned and
nothing is started, stopped or paused. Prints a table, then one JSON document. Linux, two cores or more.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from loadtest.peers.clients import Burst, burst
from loadtest.peers.processes import (
    ENGINE_CORE,
    OTHER_CORE,
    cpu_s,
    is_engine,
    pause,
    pin,
    resume,
    running,
    tree,
    wait_for,
)
from loadtest.peers.ray_ways import ENGINE, MODEL
from loadtest.peers.relays import RELAYS
from serve.ports import free_port

LEVELS = {1: 6, 8: 6, 32: 5}
"""Clients, and how many requests each of them sends in a burst."""
TOKENS = 32
SETTLE_S = 2.0
QUIET_CORES = 0.08
TRIES = 5
UVICORN = [f"uvicorn-{name}" for name in RELAYS]
WAYS = ["bare", *UVICORN, "ray-relay", "handle", "direct"]


@dataclass(frozen=True)
class Way:
    """Where to ask, and the process trees that must run meanwhile."""

    name: str
    port: int
    model: str
    roots: tuple[int, ...]


@dataclass
class Measured:
    """One burst with what it cost beside the engine, in CPU-seconds."""

    way: str
    round: int
    burst: Burst
    front_cpu_s: float
    foreign_cores: float

    @property
    def front_ms_per_token(self) -> float:
        return 1000 * self.front_cpu_s / self.burst.tokens


@dataclass
class Bench:
    """The ways that are up, and how to measure one of them."""

    ways: list[Way]
    may_pause: bool = True
    results: list[Measured] = field(default_factory=list)

    def select(self, way: Way) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """Run only what this way needs, each on its core. Returns engine processes and the others."""
        family = [process for root in way.roots for process in tree(root)]
        if self.may_pause:
            needed = {process.pid for process in family}
            pause(p for other in self.ways for root in other.roots for p in tree(root) if p.pid not in needed)
            resume(family)
        engine = [process for process in family if is_engine(process)]
        others = [process for process in family if process not in engine]
        pin(engine, ENGINE_CORE)
        pin(others, OTHER_CORE)
        return engine, others

    def measure(self, way: Way, clients: int, round_: int) -> Measured:
        """One burst after a warm one. Prompts are the same for every way: a longer one would cost prefill."""
        engine, others = self.select(way)
        time.sleep(SETTLE_S)
        salt = f"{round_:02}-{clients:02}"
        asyncio.run(burst(way.port, way.model, clients, 1, TOKENS, f"warm-{salt}"))
        ours, front, busy = cpu_s([*engine, *others, psutil.Process()]), cpu_s(others), busy_s()
        seen = asyncio.run(burst(way.port, way.model, clients, LEVELS[clients], TOKENS, salt))
        foreign = busy_s() - busy - (cpu_s([*engine, *others, psutil.Process()]) - ours)
        return Measured(way.name, round_, seen, cpu_s(others) - front, foreign / seen.wall_s)

    def measure_undisturbed(self, way: Way, clients: int, round_: int) -> None:
        """Measure until nothing else used the machine meanwhile, five times at most; keep the quietest."""
        tries: list[Measured] = []
        while len(tries) < TRIES and all(one.foreign_cores > QUIET_CORES for one in tries):
            tries.append(self.measure(way, clients, round_))
            seen = tries[-1].burst
            note = f"round {round_} {way.name:>22} {clients:>2} clients {seen.tokens_per_s:7.1f} tok/s"
            note += f"  first token {seen.ttft_s * 1000:6.1f} ms  foreign {tries[-1].foreign_cores:.2f} cores"
            print(note, file=sys.stderr, flush=True)
        self.results.append(min(tries, key=lambda one: one.foreign_cores))

    def run(self, rounds: int) -> None:
        for round_ in range(rounds):
            for clients in LEVELS:
                shift = round_ % len(self.ways)
                for way in self.ways[shift:] + self.ways[:shift]:
                    self.measure_undisturbed(way, clients, round_)

    def summary(self) -> list[dict[str, Any]]:
        """One row a way and number of clients; ratios are to `bare` in the same round: median, lowest, highest."""
        rows = []
        for clients in LEVELS:
            at = {(m.way, m.round): m for m in self.results if m.burst.clients == clients}
            for way in self.ways:
                own = [m for (name, _), m in at.items() if name == way.name]
                bare = [at["bare", m.round].burst for m in own]
                rows.append(
                    {
                        "way": way.name,
                        "clients": clients,
                        "tokens_per_s": spread([m.burst.tokens_per_s for m in own]),
                        "tokens_ratio": spread(
                            [m.burst.tokens_per_s / b.tokens_per_s for m, b in zip(own, bare, strict=True)]
                        ),
                        "ttft_s": spread([m.burst.ttft_s for m in own]),
                        "ttft_ratio": spread([m.burst.ttft_s / b.ttft_s for m, b in zip(own, bare, strict=True)]),
                        "front_cpu_ms_per_token": spread([m.front_ms_per_token for m in own]),
                        "foreign_cores": spread([m.foreign_cores for m in own]),
                    }
                )
        return rows


def busy_s() -> float:
    """CPU-seconds that the machine's cores have worked, or were withheld by its host, since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "low": min(values), "high": max(values)}


@contextlib.contextmanager
def started(names: list[str], model_dir: Path, folder: Path) -> Iterator[list[Way]]:
    """The ways called `names`, up and answering; all ended on leaving. Logs and sockets lie in `folder`."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        arguments = ["-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
        arguments += ["--model", str(model_dir), "--served-model-name", MODEL, "--dtype", str(ENGINE["dtype"])]
        arguments += ["--max-model-len", str(ENGINE["max_model_len"]), "--max-num-seqs", str(ENGINE["max_num_seqs"])]
        arguments += ["--enforce-eager", "--no-enable-prefix-caching", "--uvicorn-log-level", "warning"]
        env = {"VLLM_CPU_OMP_THREADS_BIND": str(ENGINE_CORE), "VLLM_CPU_KVCACHE_SPACE": "1"}
        server = stack.enter_context(running(arguments, folder / "bare.log", env))
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/v1/models", server, folder / "bare.log")
        ways = [Way("bare", port, MODEL, (server.pid,))]
        for name in names:
            if name == "bare":
                continue
            own = free_port()
            if name in UVICORN:
                command = ["-m", "loadtest.peers.relays", name.removeprefix("uvicorn-"), str(own), url]
            else:
                kind = name.removeprefix("ray-")
                source = url if kind == "relay" else str(model_dir)
                place = folder / kind[0]
                place.mkdir()
                command = ["-m", "loadtest.peers.ray_ways", kind, str(own), str(place), source]
            process = stack.enter_context(running(command, folder / f"{name}.log"))
            needs_engine = name in UVICORN or name == "ray-relay"
            roots = (process.pid, server.pid) if needs_engine else (process.pid,)
            wait_for(f"http://127.0.0.1:{own}/v1/models", process, folder / f"{name}.log")
            ways.append(Way(name, own, MODEL, roots))
        yield ways


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, help="a Hugging Face folder")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--attach", type=int, metavar="PID", help="measure a server that runs already")
    parser.add_argument("--bare", metavar="PORT:MODEL", help="with --attach: the engine's own server")
    parser.add_argument("--way", action="append", default=[], metavar="NAME=PORT:MODEL", help="with --attach")
    chosen = parser.parse_args(arguments)
    if chosen.attach is None and chosen.model_dir is None:
        parser.error("give --model-dir, or --attach with --bare and --way")
    if chosen.attach is not None and not (chosen.bare and chosen.way):
        parser.error("--attach needs --bare and at least one --way")
    return chosen


def attached(chosen: argparse.Namespace) -> list[Way]:
    ways = []
    for text in [f"bare={chosen.bare}", *chosen.way]:
        name, _, place = text.partition("=")
        port, _, model = place.partition(":")
        ways.append(Way(name, int(port), model, (chosen.attach,)))
    return ways


def show(rows: list[dict[str, Any]]) -> None:
    """The table, for people."""
    table = Table("way", "clients", "tok/s", "of bare", "first token ms", "of bare", "front CPU ms/token")
    for row in rows:
        ratio, first = row["tokens_ratio"], row["ttft_ratio"]
        table.add_row(
            row["way"],
            str(row["clients"]),
            f"{row['tokens_per_s']['median']:.1f}",
            f"{ratio['median']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f})",
            f"{row['ttft_s']['median'] * 1000:.0f}",
            f"{first['median']:.2f} ({first['low']:.2f}-{first['high']:.2f})",
            f"{row['front_cpu_ms_per_token']['median']:.2f}",
        )
    Console(width=120).print(table)


def main() -> None:
    chosen = parse()
    os.sched_setaffinity(0, range(os.cpu_count() or 2))
    with tempfile.TemporaryDirectory(prefix="wo-") as folder, contextlib.ExitStack() as stack:
        if chosen.attach is not None:
            bench = Bench(attached(chosen), may_pause=False)
        else:
            bench = Bench(stack.enter_context(started(chosen.ways, chosen.model_dir, Path(folder))))
        os.sched_setaffinity(0, {OTHER_CORE})
        bench.run(chosen.rounds)
        rows = bench.summary()
    show(rows)
    versions = {name: version(name) for name in ("vllm-cpu", "ray", "aiohttp", "uvicorn", "torch")}
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    document = {"schema": 1, "machine": machine, "versions": versions, "rounds": chosen.rounds, "tokens": TOKENS}
    print(json.dumps(document | {"rows": rows}))


if __name__ == "__main__":
    main()
