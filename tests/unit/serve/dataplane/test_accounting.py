"""Results of a judged model's requests: which count as failed, as late, or not at all."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.dataplane.accounting import Accounting
from serve.dataplane.call import Call
from serve.dataplane.drain import Drain
from serve.dataplane.observations import Served
from serve.dataplane.router import Assignment, Target


def accounting(objective_s: float | None = 1.0, all_up: bool = True) -> Accounting:
    upstream = SimpleNamespace(manifest=SimpleNamespace(digest="d"))
    upstreams = SimpleNamespace(
        snapshot=SimpleNamespace(judged={"m": objective_s}),
        all_up=lambda model: all_up,
        drain=Drain(),
        preferred=lambda target, client, needs: (
            upstream,
            Assignment("m", "b", "sticky" if client != "pinned" else "pinned"),
        ),
    )
    return Accounting(cast(Any, upstreams))


def call(status: int, took_s: float, model: str = "m", variant: str | None = None, client: str | None = None) -> Call:
    request = Call(Target(model, variant), client, lambda upstream: ("/", b""), {}, False, "r")
    request.status, request.arrived = status, time.perf_counter() - took_s
    return request


def noted(accounting: Accounting) -> tuple[int, int, list[list[int]]]:
    """Numbers of requests and of failures; for each second, those within the objective and all."""
    results = accounting.observations.of("m").served.get("d", Served())
    return results.requests, results.failed, list(results.seconds.values())


@pytest.mark.parametrize(
    ("status", "took_s", "wanted"),
    [
        (200, 0.1, (1, 0, [[1, 1]])),
        (200, 2.0, (1, 0, [[0, 1]])),
        (502, 0.1, (1, 1, [[0, 1]])),
        (429, 0.1, (1, 1, [[0, 1]])),  # refused by a full queue
        (400, 0.1, (0, 0, [])),
        (499, 0.1, (0, 0, [])),
        (499, 2.0, (0, 0, [[0, 1]])),  # the client left after the objective: late
    ],
)
def test_which_results_count(status: int, took_s: float, wanted: tuple[Any, ...]) -> None:
    counter, asked = accounting(), call(status, took_s)
    asked.upstream = cast(Any, SimpleNamespace(manifest=SimpleNamespace(digest="d")))
    asked.assignment = Assignment("m", "b", "weight")
    counter.served(asked)
    assert noted(counter) == wanted


def test_what_the_servers_end_breaks_off_is_no_variants_failure() -> None:
    counter, asked = accounting(), call(503, 0.1)
    asked.upstream = cast(Any, SimpleNamespace(manifest=SimpleNamespace(digest="d")))
    asked.assignment = Assignment("m", "b", "weight")
    counter.upstreams.drain.over = True
    counter.served(asked)
    assert counter.observations.seen == {}


def test_without_an_objective_nothing_is_late() -> None:
    counter, asked = accounting(None), call(499, 99.0)
    asked.upstream = cast(Any, SimpleNamespace(manifest=SimpleNamespace(digest="d")))
    asked.assignment = Assignment("m", "b", "weight")
    counter.served(asked)
    assert noted(counter) == (0, 0, [])


@pytest.mark.parametrize(
    ("status", "reason", "all_up", "wanted"),
    [
        (200, "fallback", True, (0, 0, [])),
        (502, "fallback", True, (0, 0, [])),
        (502, "sticky", False, (1, 1, [])),
        (429, "sticky", False, (0, 0, [])),
        (200, "sticky", False, (1, 0, [])),
        (200, "pinned", True, (0, 0, [])),
        (502, "capable", True, (1, 1, [[0, 1]])),
    ],
)
def test_another_variants_outage_does_not_count(
    status: int, reason: str, all_up: bool, wanted: tuple[Any, ...]
) -> None:
    counter, asked = accounting(all_up=all_up), call(status, 2.0)
    asked.upstream = cast(Any, SimpleNamespace(manifest=SimpleNamespace(digest="d")))
    asked.assignment = Assignment("m", "b", cast(Any, reason))
    counter.served(asked)
    assert noted(counter) == wanted


def test_without_a_ready_variant_the_preferred_one_has_failed() -> None:
    counter = accounting()
    counter.unplaced(call(0, 0.1))
    assert noted(counter) == (1, 1, [[0, 1]])
    for others in (call(0, 0.1, variant="b"), call(0, 0.1, client="pinned"), call(0, 0.1, model="other")):
        counter.unplaced(others)
    placed_before = call(0, 0.1)
    placed_before.assignment = Assignment("m", "a", "weight")
    counter.unplaced(placed_before)
    assert noted(counter) == (1, 1, [[0, 1]])
