"""When a replay may begin."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.shadow import replayer as module
from serve.shadow.replay import Replay
from serve.shadow.replayer import Replayer


def replayer(running: int, usual: float, waiting: int = 0, under_way: int = 0) -> Replayer:
    upstreams = SimpleNamespace(all=lambda: [SimpleNamespace(running=running, waiting=0)])
    instance = Replayer(cast(Any, upstreams), cast(Any, None), cast(Any, None))
    instance.load_gate.usual, instance.load_gate.under_way = usual, under_way
    for _ in range(waiting):
        instance.queue.put_nowait(replay_of())
    return instance


def replay_of(waited_s: float = 0.0, has_only_shadow_load: bool = False) -> Replay:
    nothing, parent = cast(Any, None), cast(Any, SimpleNamespace(endpoint="there"))
    sample, call = SimpleNamespace(label="pos"), SimpleNamespace(streamed=False, upstream=parent, status=200)
    variant = SimpleNamespace(has_only_shadow_load=has_only_shadow_load, endpoint="there")
    since = time.monotonic() - waited_s
    return Replay(cast(Any, sample), cast(Any, call), nothing, parent, cast(Any, variant), since=since)


@pytest.mark.parametrize(
    ("running", "usual", "waited_s", "waiting", "quiet"),
    [
        (0, 0.0, 0.0, 0, True),
        (1, 0.0, 0.0, 0, False),
        (2, 8.0, 0.0, 0, False),  # lower load than usual, but the replay is not overdue
        (2, 8.0, 10.0, 0, True),
        (5, 8.0, 10.0, 0, False),
        (2, 8.0, 0.0, module.QUEUE // 2, True),
        (5, 8.0, 0.0, module.QUEUE // 2, False),
    ],
)
def test_when_a_replay_is_admitted(running: int, usual: float, waited_s: float, waiting: int, quiet: bool) -> None:
    assert replayer(running, usual, waiting).admits(replay_of(waited_s)) is quiet


@pytest.mark.parametrize(
    ("running", "under_way", "usual", "waited_s", "begins"),
    [
        (0, 0, 0.0, 0.0, True),
        (1, 0, 0.0, 10.0, False),
        (0, 1, 0.0, 0.0, False),
        (0, 1, 0.0, 10.0, True),
        (2, 0, 8.0, 0.0, True),
        (1, 1, 8.0, 0.0, True),
        (2, 1, 8.0, 0.0, False),
        (6, 3, 8.0, 10.0, True),
        (7, 0, 8.0, 10.0, False),
    ],
)
def test_when_a_low_priority_replay_is_admitted(
    running: int, under_way: int, usual: float, waited_s: float, begins: bool
) -> None:
    assert (
        replayer(running, usual, under_way=under_way).admits(replay_of(waited_s, has_only_shadow_load=True)) is begins
    )


@pytest.mark.parametrize("side", ["parent", "variant"])
def test_a_replay_waits_for_an_engine_that_restarts(side: str) -> None:
    waiting = replay_of(10.0)
    cast(Any, getattr(waiting, side)).endpoint = None
    assert not replayer(0, 0.0).admits(waiting)
