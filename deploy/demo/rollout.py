"""The last part of the demo: the verdict on a shadow variant from live labelled requests, or what a verdict lacks."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve.cli.admin_client import ask
from serve.cli.rollout_client import describe_rollout, path_of
from variants.files import write_atomic

CAMPAIGN = Path(__file__).parents[2] / "loadtest" / "campaigns" / "shadow.yaml"
PLAN: dict[str, Any] = {
    "variant": "int8",
    "steps": ["shadow"],
    "shadow": 1.0,
    "gate": {"quality": 0.05, "errors": 0.02},
}
SETTLE_S = 5.0
"""Time for the replays that still wait when the load has ended."""


def shadow(url: str, model: str, out: Path, load: Callable[[str, Path], None]) -> str:
    """Begin a rollout, run the campaign with `load`, and end the rollout. Writes `verdict.json`, returns its text.

    Raises the server's errors."""
    path = path_of(model, "rollout")
    ask(url, "POST", path, PLAN)
    load(str(CAMPAIGN), out / "shadow")
    deadline = time.monotonic() + SETTLE_S
    while (answer := ask(url, "GET", path))["rollout"]["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.5)
    if answer["rollout"]["status"] == "running":
        ask(url, "POST", f"{path}/abort", {})
    write_atomic(out / "verdict.json", (json.dumps(answer, indent=2) + "\n").encode())
    return describe_rollout(answer)
