"""`python -m loadtest.console.child TARGET CAMPAIGN OUT`: one campaign that the console started, in its own process.

Standard input stays open as long as the server lives. When it ends, the campaign is ended. Progress is written to
`progress.json`, the result as `understudy load` writes it, and why it failed to standard error.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from loadtest.campaign.schema import read_campaign
from loadtest.harness import ends_in_words
from loadtest.progress import Progress, Step
from loadtest.worker.parent import run

PROGRESS = "progress.json"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Threads of a Ray worker block some of them, and a child inherits that."""


def write_progress(out: Path) -> Progress:
    """A `Progress` that replaces `progress.json` with each step."""

    def write(step: Step) -> None:
        part = out / f"{PROGRESS}.part"
        part.write_text(json.dumps(asdict(step)), encoding="utf-8")
        part.replace(out / PROGRESS)

    return write


def end_with_server() -> None:
    """Interrupt this process when standard input ends."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    target, campaign, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with ends_in_words("load"):
        threading.Thread(target=end_with_server, daemon=True).start()
        run(target, read_campaign(campaign), out, write_progress(out))
        from loadtest.results.page import write  # here, because Matplotlib would take time from the campaign's start
        from loadtest.results.summary import summarise

        write(summarise(out), out)


if __name__ == "__main__":
    main()
