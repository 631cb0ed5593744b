"""Results of requests as outcomes of seconds and blocks."""

from serve.config.snapshot import Judged
from serve.dataplane.served import NAMELESS, Client, Result, Served, percentiles

ANN: Client = (None, "ann")


def counted(*results: Result, judged: Judged = Judged(1.0), at: float = 1000.0, until: float = 1080.0) -> Served:
    served = Served()
    for result in results:
        served.count(result, judged, at)
    served.close(until)
    return served


def result(client: Client = ANN, failed: bool = False, took_s: float | None = 0.5, left: bool = False) -> Result:
    return Result(2, client, failed, took_s, left)


def test_a_client_with_many_failures_in_a_second_is_one_outcome() -> None:
    others = [result(("key", f"client {number}")) for number in range(9)]
    served = counted(*others, *(result(failed=True) for _ in range(100)))
    assert list(served.past_seconds) == [[2, 1000, 109, 0.1]]
    assert (served.requests, served.failed) == (109, 100)


def test_a_client_fails_by_its_share() -> None:
    served = counted(result(failed=True), result(), result(), result(("key", None)))
    assert list(served.past_seconds) == [[2, 1000, 4, 0.1667]]


def test_each_request_without_a_name_is_a_client() -> None:
    served = counted(*(result(NAMELESS, failed=number == 0) for number in range(3)), result())
    assert list(served.past_seconds) == [[2, 1000, 4, 0.25]]


def test_the_name_of_a_key_makes_another_client() -> None:
    served = counted(result(("one", "ann"), failed=True), result(("other", "ann")))
    assert list(served.past_seconds) == [[2, 1000, 2, 0.5]]


def test_versions_are_counted_apart() -> None:
    served = counted(result(), result()._replace(version=3, failed=True))
    assert list(served.past_seconds) == [[2, 1000, 1, 0.0], [3, 1000, 1, 1.0]]
    assert [block[:3] for block in served.past_blocks] == [[2, 1.0, 16], [3, 1.0, 16]]


def test_a_block_has_its_requests_and_percentiles() -> None:
    answered = [result(took_s=number / 100) for number in range(1, 101)]
    failed, late, early = result(failed=True), result(took_s=3.0, left=True), result(took_s=0.1, left=True)
    served = counted(*answered, failed, late, early)
    assert list(served.past_blocks) == [[2, 1.0, 16, 102, 100, 0.5, 0.95]]
    assert (served.requests, served.failed, served.left) == (101, 1, 2)


def test_without_an_objective_percentiles_are_counted_alone() -> None:
    served = counted(result(took_s=2.0), result(took_s=9.0, left=True), judged=Judged(None))
    assert list(served.past_blocks) == [[2, None, 16, 1, 0, 2.0, 2.0]]


def test_a_block_in_which_nobody_was_answered_has_no_percentiles() -> None:
    assert list(counted(result(failed=True)).past_blocks) == [[2, 1.0, 16, 1, 0, None, None]]


def test_what_is_not_over_stays() -> None:
    served = counted(result(), at=1000.2, until=1000.9)
    assert (len(served.seconds), len(served.past_seconds)) == (1, 0)
    assert served.take_batch(1019.9)["minutes"] == []
    batch = served.take_batch(1020.0)
    assert (batch["requests"], batch["seconds"], len(batch["minutes"])) == (0, [], 1)


def test_the_length_of_a_block_is_the_rollouts() -> None:
    served = counted(result(), judged=Judged(1.0, block_s=300.0), until=1200.0)
    assert [block[2] for block in served.past_blocks] == [3]


def test_where_latency_does_not_count_there_is_no_block() -> None:
    served = counted(result(took_s=None))
    assert (len(served.past_seconds), len(served.past_blocks)) == (1, 0)


def test_percentiles_are_ranks_with_three_digits() -> None:
    assert percentiles([]) == (None, None)
    assert percentiles([0.123456]) == (0.123, 0.123)
    assert percentiles([3.0, 1.0, 2.0]) == (2.0, 3.0)


def test_failures_of_one_second_stay_one_outcome_while_the_other_arm_is_asked() -> None:
    served = counted(result(("key", "sound")), until=1000.5)
    for _ in range(3):
        served.hold(2, 1000.4)
    for now in (1003.0, 1009.0, 1015.0):
        assert list(served.past_seconds) == []
        served.count(result(failed=True), Judged(1.0), now, 1000.4)
        served.release(2, 1000.4)
    served.close(1016.0)
    assert list(served.past_seconds) == [[2, 1000, 4, 0.5]]
