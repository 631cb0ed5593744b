"""Results of a judged model's requests: which count as failed, as late, or not at all."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.config.snapshot import Judged
from serve.dataplane.accounting import Accounting
from serve.dataplane.call import Call
from serve.dataplane.drain import Drain
from serve.dataplane.router import Assignment, Target
from serve.dataplane.served import Served
from serve.protocols.hash_keys import HashKeys


def accounting(objective_s: float | None = 1.0, all_up: bool = True) -> Accounting:
    upstream = SimpleNamespace(manifest=SimpleNamespace(digest="d"))
    traffic = SimpleNamespace(version=3, traffic=SimpleNamespace(sticky=True))
    upstreams = SimpleNamespace(
        snapshot=SimpleNamespace(judged={"m": Judged(objective_s)}, traffic={"m": traffic}),
        hash_keys=HashKeys(client=b"secret"),
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
    request.status, request.arrived, request.version = status, time.perf_counter() - took_s, 2
    return request


def noted(accounting: Accounting) -> tuple[int, int, int, list[tuple[int, int]]]:
    """Numbers of requests, failures and clients that left; for each block, all requests and those within."""
    results = accounting.observations.of("m").served.get("d", Served())
    blocks = [(block.requests, block.within) for block in results.blocks.values()]
    return results.requests, results.failed, results.left, blocks


@pytest.mark.parametrize(
    ("status", "took_s", "wanted"),
    [
        (200, 0.1, (1, 0, 0, [(1, 1)])),
        (200, 2.0, (1, 0, 0, [(1, 0)])),
        (502, 0.1, (1, 1, 0, [(1, 0)])),
        (429, 0.1, (1, 1, 0, [(1, 0)])),  # refused by a full queue
        (400, 0.1, (0, 0, 0, [])),
        (499, 0.1, (0, 0, 1, [])),
        (499, 2.0, (0, 0, 1, [(1, 0)])),  # the client left after the objective: late
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
    assert noted(counter) == (0, 0, 1, [])


@pytest.mark.parametrize(
    ("status", "reason", "all_up", "wanted"),
    [
        (200, "fallback", True, (0, 0, 0, [])),
        (502, "fallback", True, (0, 0, 0, [])),
        (502, "sticky", False, (1, 1, 0, [])),
        (429, "sticky", False, (0, 0, 0, [])),
        (200, "sticky", False, (1, 0, 0, [])),
        (499, "sticky", False, (0, 0, 1, [])),
        (200, "pinned", True, (0, 0, 0, [])),
        (499, "pinned", True, (0, 0, 0, [])),
        (502, "capable", True, (1, 1, 0, [(1, 0)])),
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
    assert noted(counter) == (1, 1, 0, [(1, 0)])
    for others in (call(0, 0.1, variant="b"), call(0, 0.1, client="pinned"), call(0, 0.1, model="other")):
        counter.unplaced(others)
    placed_before = call(0, 0.1)
    placed_before.assignment = Assignment("m", "a", "weight")
    counter.unplaced(placed_before)
    assert noted(counter) == (1, 1, 0, [(1, 0)])


def test_a_result_counts_for_the_version_that_assigned_the_request() -> None:
    counter, asked = accounting(), call(200, 0.1)
    asked.upstream = cast(Any, SimpleNamespace(manifest=SimpleNamespace(digest="d")))
    asked.assignment = Assignment("m", "b", "weight")
    counter.served(asked)
    counter.unplaced(call(0, 0.1))
    results = counter.observations.of("m").served["d"]
    assert {version for version, _ in results.seconds} == {2, 3}
    assert {span.version for span in results.blocks} == {2, 3}


def test_a_client_is_named_by_a_keyed_hash() -> None:
    counter = accounting()
    for client in ("alice", "alice", None):
        counter.assigned(Assignment("m", "a", "sticky"), client, "team")
    batch = counter.observations.batch()
    assert batch is not None
    assigned = batch["models"]["m"]["assigned"]["3"]
    assert assigned["anonymous"] == {"a": 1}
    assert list(assigned["clients"]) == [HashKeys(client=b"secret").client_of(None, "alice")]
    assert list(assigned["clients"]) != [HashKeys().client_of(None, "alice")]
    assert [source[:3] for source in assigned["named"].values()] == [["team", "*", "sticky"]]
    assert [source[:3] for source in assigned["sources"]] == [["team", "", "sticky"]]


class Questions:
    """Stands for `SecondOpinion`: who is asked, and what each answer is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Callable[[bool], None]]] = []

    def on(self, call: Call, other: Any, count: Callable[[bool], None]) -> None:
        self.asked.append((other.manifest.digest, count))


def rollout(arms: tuple[str, str] = ("p", "d"), aa: str | None = None) -> tuple[Accounting, Questions]:
    """A rollout whose parent has the digest `p` and whose variant `d`."""
    counter, questions = accounting(), Questions()
    upstreams = cast(Any, counter.upstreams)
    upstreams.snapshot.judged["m"] = Judged(1.0, arms=arms, aa=aa)
    upstreams.by_model = {"m": {name: SimpleNamespace(manifest=SimpleNamespace(digest=name)) for name in "pd"}}
    counter.second_opinion = cast(Any, questions)
    return counter, questions


def failed_at(counter: Accounting, digest: str, status: int = 502, started: bool = False) -> None:
    asked = call(status, 0.1)
    asked.started = started
    asked.upstream = cast(Any, SimpleNamespace(manifest=SimpleNamespace(digest=digest)))
    asked.assignment = Assignment("m", "b", "weight")
    counter.served(asked)


@pytest.mark.parametrize(("own", "failed", "both"), [(True, 1, 0), (False, 0, 1)])
def test_a_failure_of_either_arm_counts_when_the_other_has_answered(own: bool, failed: int, both: int) -> None:
    counter, questions = rollout()
    for digest in "dp":
        failed_at(counter, digest)
    assert [digest for digest, _ in questions.asked] == ["p", "d"]
    assert noted(counter) == (0, 0, 0, [])
    questions.asked[0][1](own)
    served = counter.observations.of("m").served["d"]
    assert (served.requests, served.failed, served.failed_at_both) == (failed, failed, both)


@pytest.mark.parametrize(("own", "failed"), [(True, 1), (False, 0)])
def test_a_variant_that_turns_clients_away_has_failed_where_its_parent_answers(own: bool, failed: int) -> None:
    """Also for requests that no shadow compares, such as those for several answers."""
    counter, questions = rollout()
    failed_at(counter, "d", 400, started=True)
    assert [digest for digest, _ in questions.asked] == ["p"]
    questions.asked[0][1](own)
    assert noted(counter)[:2] == (failed, failed)


@pytest.mark.parametrize(("arms", "started"), [(("p", "d"), False), (("x", "d"), True)])
def test_a_refusal_of_the_server_or_without_a_parent_to_ask_counts_for_nothing(
    arms: tuple[str, str], started: bool
) -> None:
    counter, questions = rollout(arms)
    failed_at(counter, "d", 400, started)
    assert (questions.asked, noted(counter)[:2]) == ([], (0, 0))


@pytest.mark.parametrize(
    ("arms", "aa", "status"), [(("p", "d"), None, 429), (("d", "d"), "b", 502), (("x", "d"), None, 502)]
)
def test_what_no_other_arm_can_answer_counts_at_once(arms: tuple[str, str], aa: str | None, status: int) -> None:
    """A full queue's refusal, an A/A comparison, a parent that is no longer served."""
    counter, questions = rollout(arms, aa)
    failed_at(counter, "d", status)
    assert questions.asked == []
    assert noted(counter)[:2] == (1, 1)
