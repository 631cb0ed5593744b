"""`python -m loadtest.worker OUT_DIR`: sends a plan's requests with Locust, in a process of its own.

The plan comes as one JSON line on standard input, which stays open. When standard input ends, the parent is gone and
this process ends too. Standard output has one JSON event a line, for progress or a failure. Records and slice
windows are written to their files as they come. The worker sends only what the plan has, and stops at the plan's limit.
"""

import json
import os
import sys
import time
from pathlib import Path

# First, because it patches the standard library.
from loadtest.worker.users import ClosedUser, OpenUser, RunningCampaign, epoch_offset

# isort: split
import gevent
import gevent.os
from locust.env import Environment

from loadtest.campaign.plan import Plan, Stage
from loadtest.results.records import LineWriter, Record, SliceWindow
from loadtest.worker.stage_run import StageError, StageRun

TICK_S = 0.5
ORPHANED = 3


def emit(kind: str, **fields: object) -> None:
    """Tell the parent: a "step" with the fields of `loadtest.progress.Step`, or "failed" with a `text`."""
    print(json.dumps({"kind": kind, **fields}), flush=True)


class Worker:
    """Runs the stages of one plan, one after the other."""

    def __init__(self, plan: Plan, out_dir: Path) -> None:
        self._plan = plan
        self._out_dir = out_dir
        self._positions: dict[tuple[str, str], int] = {}
        self._ends = time.perf_counter() + plan.limit_s

    def run(self) -> None:
        """Raises StageError where the campaign cannot continue."""
        with (
            LineWriter[Record](self._out_dir / "records.jsonl") as records,
            LineWriter[SliceWindow](self._out_dir / "slices.jsonl") as slices,
        ):
            for index, stage in enumerate(self._plan.stages):
                later = sum(after.expected_s for after in self._plan.stages[index + 1 :])
                live = RunningCampaign(StageRun(self._plan, stage, self._positions), records, epoch_offset())
                cores = self._run_stage(stage, live, later)
                if stage.slice is not None:
                    slices.write(_window(stage, live, cores))

    def _run_stage(self, stage: Stage, live: RunningCampaign, later_s: float) -> float:
        """Run one stage to its end. Returns how many cores this process kept busy. Raises StageError."""
        if live.run.users == 0:
            return 0.0
        base = OpenUser if stage.arrivals else ClosedUser
        user = type(base.__name__, (base,), {"live": live, "network_timeout": self._plan.timeout_s})
        environment = Environment(user_classes=[user], host=self._plan.target_url)
        runner = environment.create_local_runner()
        spawned = gevent.event.Event()
        environment.events.spawning_complete.add_listener(lambda user_count: spawned.set())
        ticker = gevent.spawn(self._tick, stage, live, later_s)
        limit = min(time.perf_counter() + stage.limit_s, self._ends)
        try:
            runner.start(live.run.users, spawn_rate=live.run.users)
            spawned.wait(limit - time.perf_counter())
            cpu = time.process_time()
            live.run.began = time.perf_counter()
            live.gate.set()
            in_time = live.finished.wait(max(0.0, limit - time.perf_counter()))
            cores = (time.process_time() - cpu) / (time.perf_counter() - live.run.began)
        finally:
            ticker.kill()
            runner.quit()
        if live.error is not None:
            raise live.error
        if not in_time:
            raise StageError(f"{stage.part} ({stage.text}) was not through within its limit")
        return cores

    def _tick(self, stage: Stage, live: RunningCampaign, later_s: float) -> None:
        """Report the progress of the stage when it begins, and twice a second afterwards."""
        live.gate.wait()
        while True:
            done, of, left_s = live.run.progress()
            emit("step", part=stage.part, text=stage.text, done=done, of=of, left_s=left_s + later_s)
            gevent.sleep(TICK_S)


def _window(stage: Stage, live: RunningCampaign, cores: float) -> SliceWindow:
    assert stage.window is not None
    assert stage.slice is not None
    lane = stage.lanes[0]
    return SliceWindow(
        model=live.run.plan.pools[lane.pool].model,
        variant=lane.variant,
        slice=stage.slice,
        clients=lane.clients,
        opened=live.run.opens + epoch_offset(),
        seconds=stage.window.seconds,
        load_cores=cores,
    )


def _leave_with_parent() -> None:
    """End at once when standard input ends. The records are flushed, and nobody reads more of standard output."""
    while gevent.os.nb_read(0, 1):
        pass
    os._exit(ORPHANED)


def main() -> int:
    plan = Plan.model_validate_json(sys.stdin.buffer.readline())
    gevent.os.make_nonblocking(0)
    gevent.spawn(_leave_with_parent)
    try:
        Worker(plan, Path(sys.argv[1])).run()
    except StageError as error:
        emit("failed", text=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
