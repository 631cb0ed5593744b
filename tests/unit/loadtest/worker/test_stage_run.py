"""One stage without network: who gets what, and what of a request falls in a slice's window."""

import pytest

from loadtest.campaign.plan import Content, Lane, Plan, Pool, Stage, Window
from loadtest.worker.stage_run import StageError, StageRun, share_within, tokens_within


def contents(count: int) -> tuple[Content, ...]:
    return tuple(Content(example=str(number), text=f"text {number}") for number in range(count))


def staged(lanes: tuple[Lane, ...], window: Window | None = None, size: int = 3) -> StageRun:
    pool = Pool(kind="text", model="smollm2", task="made", contents=contents(size), max_tokens=4)
    stage = Stage(part="speed", text="", limit_s=10, expected_s=1, lanes=lanes, window=window, slice=0)
    plan = Plan(target_url="http://127.0.0.1:1", timeout_s=1, limit_s=1, pools={"pool": pool}, stages=(stage,))
    return StageRun(plan, stage, {}, clock=lambda: 100.0)


def test_tokens_count_by_the_frame_they_came_in() -> None:
    times = [1.0, 2.0, 3.0, 4.0]
    assert tokens_within(times, 4, opened=2.0, seconds=2.0) == 2
    assert tokens_within(times, 8, opened=2.0, seconds=2.0) == 4, "frames of two tokens each"
    assert tokens_within(times, 4, opened=0.0, seconds=10.0) == 4
    assert tokens_within(times, 4, opened=5.0, seconds=1.0) == 0
    assert tokens_within([], 4, opened=0.0, seconds=10.0) == 0


def test_neighbouring_windows_share_a_request_without_loss() -> None:
    times = [0.1 * number for number in range(64)]
    parts = [tokens_within(times, 64, opened=start, seconds=1.7) for start in (0.0, 1.7, 3.4, 5.1)]
    assert sum(parts) == 64
    shares = [share_within(0.5, 6.0, opened=start, seconds=2.0) for start in (0.0, 2.0, 4.0)]
    assert sum(shares) == pytest.approx(1.0)
    assert shares[1] == pytest.approx(2 / 5.5)


def test_a_request_outside_the_window_has_no_share() -> None:
    assert share_within(1.0, 2.0, opened=2.0, seconds=5.0) == 0
    assert share_within(8.0, 9.0, opened=2.0, seconds=5.0) == 0
    assert share_within(3.0, 4.0, opened=2.0, seconds=5.0) == 1


def test_two_clients_of_a_lane_never_get_the_same_content() -> None:
    lane = Lane(pool="pool", variant="int8", clients=2, at_end="stop")
    run = staged((lane,))
    taken = [run.next_in(lane), run.next_in(lane), run.next_in(lane)]
    assert [turn.content.example for turn in taken if turn] == ["0", "1", "2"]
    assert run.next_in(lane) is None


def test_each_variant_goes_through_the_pool_on_its_own() -> None:
    lanes = tuple(Lane(pool="pool", variant=name, clients=1, at_end="stop") for name in ("baseline", "int8"))
    run = staged(lanes)
    first, second = run.next_in(lanes[0]), run.next_in(lanes[1])
    assert first is not None
    assert second is not None
    assert (first.content.example, second.content.example) == ("0", "0")


def test_the_next_stage_goes_on_where_the_last_one_stopped() -> None:
    lane = Lane(pool="pool", variant="int8", clients=1, at_end="refuse")
    run = staged((lane,))
    run.next_in(lane)
    later = StageRun(run.plan, run.stage, run.positions, clock=lambda: 100.0)
    turn = later.next_in(lane)
    assert turn is not None
    assert turn.content.example == "1"


def test_prompts_are_never_repeated_and_pictures_are() -> None:
    refusing = Lane(pool="pool", variant="int8", clients=1, at_end="refuse")
    run = staged((refusing,), size=1)
    run.next_in(refusing)
    with pytest.raises(StageError, match="all 1 prompts for int8 are used up"):
        run.next_in(refusing)
    again = Lane(pool="pool", variant="nf4", clients=1, at_end="again")
    turns = [run.next_in(again) for _ in range(3)]
    assert [turn.content.example for turn in turns if turn] == ["0", "0", "0"]


def test_no_request_begins_after_the_window_has_closed() -> None:
    lane = Lane(pool="pool", variant="int8", clients=1, at_end="again")
    run = staged((lane,), Window(lead_in_s=1.0, seconds=2.0))
    run.began = 97.5
    assert run.opens == 98.5
    assert run.next_in(lane) is not None
    run.began = 97.0
    assert run.next_in(lane) is None


def test_clients_begin_spread_over_the_lead_in() -> None:
    lane = Lane(pool="pool", variant="int8", clients=4, at_end="again")
    run = staged((lane,), Window(lead_in_s=2.0, seconds=2.0))
    assert run.users == 4
    assert [delay for _, delay in run.clients] == [0.0, 0.5, 1.0, 1.5]


def test_failures_in_a_row_end_the_stage_and_a_success_forgives_them() -> None:
    lane = Lane(pool="pool", variant="int8", clients=1, at_end="again")
    run = staged((lane,))
    for _ in range(19):
        run.note("refused")
    run.note(None)
    for _ in range(19):
        run.note("refused")
    with pytest.raises(StageError, match="20 requests in a row failed; the last: gone"):
        run.note("gone")
