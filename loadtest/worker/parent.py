"""Runs a campaign: asks the server what it has, makes the plan, starts a worker process, reports its progress.

The worker is a process of its own, because Locust patches the standard library for gevent, and the command line's
process must not be patched. The worker ends whenever this process ends.
"""

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from loadtest.campaign.planner import GetTask, Planner
from loadtest.campaign.schema import Campaign
from loadtest.errors import LoadError
from loadtest.progress import Progress, Step
from loadtest.target import read_state, token_ids
from variants.tasks import Tasks

GRACE_S = 5.0
HUNG_S = 30.0
"""Seconds after the campaign's own limit until a worker that hangs is killed."""


def run(
    target_url: str, campaign: Campaign, out_dir: Path, progress: Progress, get_task: GetTask | None = None
) -> Path:
    """Run the whole campaign against `target_url`. Returns the path of the records.

    Writes `records.jsonl`, `slices.jsonl`, `server.json` (the server's state at the end), `campaign.json` and
    `worker.log` to `out_dir`. Makes the folder if needed, and replaces an earlier campaign's files. Raises StackError
    and UnknownName for what the campaign names and the server lacks. Raises LoadError where the server goes away or the
    limit is passed. After KeyboardInterrupt the worker is ended and its records stay.
    """
    target_url = target_url.rstrip("/")
    progress(Step("plan", "asking what the server has, choosing examples", 0, 1, None))
    state = read_state(target_url)
    get_task = get_task or Tasks(campaign.tasks).get
    planner = Planner(campaign, state, lambda model, text: token_ids(target_url, model, text), get_task)
    plan = planner.plan(target_url)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in (
        "records.jsonl",
        "slices.jsonl",
        "server.json",
        "campaign.json",
        "phases.json",  # the demo's clock of an earlier run, and its verdict
        "verdict.json",
        "summary.json",
        "report.html",
    ):
        (out_dir / name).unlink(missing_ok=True)
    started, clock = datetime.now(UTC), time.monotonic()
    _work(plan.model_dump_json(exclude_defaults=True), out_dir, campaign.limit_s + HUNG_S, progress)
    (out_dir / "server.json").write_text(read_state(target_url).model_dump_json(indent=1) + "\n")
    about = {
        "target_url": target_url,
        "started": started.isoformat(timespec="seconds"),
        "wall_s": round(time.monotonic() - clock, 3),
        "campaign": campaign.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    (out_dir / "campaign.json").write_text(json.dumps(about, indent=1) + "\n")
    return out_dir / "records.jsonl"


def _work(plan: str, out_dir: Path, hung_after_s: float, progress: Progress) -> None:
    """Start the worker, send it the plan, wait for its end. Raises LoadError."""
    log = out_dir / "worker.log"
    with log.open("w") as errors:
        worker = subprocess.Popen(
            [sys.executable, "-m", "loadtest.worker", str(out_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
            # Ctrl-C reaches only this process, which then ends the worker.
            start_new_session=True,
        )
    watchdog = threading.Timer(hung_after_s, worker.kill)
    watchdog.daemon = True
    watchdog.start()
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        try:
            worker.stdin.write(plan + "\n")
            worker.stdin.flush()
        except BrokenPipeError:
            pass  # it ended while starting; the error below quotes its log
        failure = _follow(worker.stdout, progress)
    except BaseException:
        worker.terminate()
        raise
    finally:
        watchdog.cancel()
        _reap(worker)
    if failure is not None:
        raise LoadError(failure, mend=f"what was recorded is in {out_dir}")
    if worker.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing in its log"]
        raise LoadError(f"the load worker ended with {worker.returncode}: {last[0]}", mend=f"see {log}")
    if log.stat().st_size == 0:
        log.unlink()


def environment() -> dict[str, str]:
    """The environment of a child process that imports this package, wherever it is started."""
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}


def _follow(events: IO[str], progress: Progress) -> str | None:
    """Report progress until the worker ends. Returns why the campaign failed, None where it did not."""
    for line in events:
        event = json.loads(line)
        if event.pop("kind") == "failed":
            return str(event["text"])
        progress(Step(**event))
    return None


def _reap(worker: subprocess.Popen[str]) -> None:
    """Wait for a worker that has finished or was told to. A worker that does not end is killed."""
    assert worker.stdin is not None
    try:
        worker.wait(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    worker.stdin.close()
