"""How the demo ends: one variant in shadow behind its parent, on live labelled requests, and the verdict on it, or what
is missing to one."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve.cli.rollout_client import begin_rollout, describe_rollout, read_rollout, steer_rollout
from variants.files import write_atomic

CAMPAIGN = Path(__file__).parents[2] / "loadtest" / "campaigns" / "shadow.yaml"
PLAN: dict[str, Any] = {
    "variant": "int8",
    "steps": ["shadow"],
    "shadow": 1.0,
    "gate": {"quality": 0.05, "errors": 0.02},
}
SETTLE_S = 5.0
"""For replays that still wait when the load has ended."""


def shadow(url: str, model: str, out: Path, load: Callable[[str, Path], None]) -> str:
    """Begin, drive the campaign with `load`, and end; gives what is to be said, and writes `verdict.json`. Raises what
    the server answers."""
    begin_rollout(url, model, PLAN)
    load(str(CAMPAIGN), out / "shadow")
    deadline = time.monotonic() + SETTLE_S
    while (found := read_rollout(url, model))["rollout"]["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.5)
    if found["rollout"]["status"] == "running":
        steer_rollout(url, model, "abort")
    write_atomic(out / "verdict.json", (json.dumps(found, indent=2) + "\n").encode())
    return describe_rollout(found)
