"""`make ways-out`: what the server as built lets through of vLLM's own, at 1, 8 and 32 streaming clients.

Serves one variant, routed and counted as any, finds the engine's own port in the server's process tree, and has
`loadtest.peers.ways_out` ask both in turn: the engine on core 0, everything else on core 1. Takes about four minutes;
compares within one run, as ratios.
"""

import sys
from contextlib import ExitStack

import psutil

from deploy.demo import ROOT, interrupt_on_signals, start, start_server
from serve.ports import free_port
from variants.errors import EngineError

MODEL, VARIANT = "smollm2", "smollm2@baseline"


def engine_port(root: int) -> int:
    """The port of the vLLM server somewhere below the process `root`. Raises EngineError."""
    for process in psutil.Process(root).children(recursive=True):
        command = process.cmdline()
        if "serve.engines.vllm_server" in command:
            return int(command[command.index("--port") + 1])
    raise EngineError("the server started no vLLM engine")


def main() -> None:
    interrupt_on_signals()
    port = free_port()
    with ExitStack() as children:
        start_server(children, ROOT / "deploy" / "stacks" / "ways-out.yaml", port)
        server = next(child.pid for child in psutil.Process().children() if "serve.cli" in child.cmdline())
        command = [
            sys.executable, "-m", "loadtest.peers.ways_out", "--rounds", "3", "--attach", str(server),
            "--bare", f"{engine_port(server)}:{VARIANT}", "--way", f"understudy={port}:{MODEL}",
        ]  # fmt: skip
        raise SystemExit(start(children, command).wait())


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("ways-out: interrupted; everything it started has been ended", file=sys.stderr)
        sys.exit(130)
