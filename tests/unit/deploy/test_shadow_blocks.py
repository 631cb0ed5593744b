"""The arithmetic of `make shadow-cost`, on figures worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from deploy.document import put_into
from deploy.shadow_blocks import Block, Counts, Round, Written, mean_ratio, ratios, summarise
from deploy.shadow_cost import DOCUMENT, BrokenOff, Size, in_turns, planned
from deploy.shadow_switch import counts_in
from loadtest.labelled import Asked
from loadtest.plan import Content
from variants.errors import InputError

PAIRS = [{"failed": False}, {"failed": False}, {"failed": True}]
SHADOWED = {"chosen": 6, "pairs": PAIRS, "unjudged": [9], "dropped": [10, 12]}


def block(pair: int, shadowed: bool, seconds: float) -> Block:
    """Every answer takes as long."""
    return Block.of(pair, shadowed, [Asked(0.0, seconds, 200) for _ in range(40)])


def measured(*blocks: Block, counts: Counts | None = None, left_over: int = 0) -> Round:
    return Round(30.0, blocks, counts or Counts(), left_over, 0)


def test_the_mean_ratio_and_its_interval() -> None:
    found = mean_ratio([1.0, 1.1, 1.21])  # logarithms 0, h, 2h: t of 2 degrees of freedom is 4.3027
    step = math.log(1.1)
    assert found.value == pytest.approx(1.1)
    assert found.high == pytest.approx(1.1 * math.exp(4.30265 * step / math.sqrt(3)), rel=1e-4)
    assert found.low == pytest.approx(1.21 / found.high)


def test_blocks_are_compared_within_their_pair() -> None:
    blocks = [block(0, True, 0.2), block(0, False, 0.1), block(1, False, 0.4), block(1, True, 0.4)]
    assert ratios(blocks) == pytest.approx([2.0, 1.0])


def test_what_failed_has_no_latency() -> None:
    answered = [Asked(0.0, 0.1, 200) for _ in range(20)]
    found = Block.of(0, True, [*answered, Asked(0.0, 9.0, 502)])
    assert (found.requests, found.failed, found.p95_s) == (21, 1, 0.1)


def test_what_still_waits_is_not_completed() -> None:
    on = Counts(compared=89, failed=0, dropped_full=1, dropped_late=2, waiting=8)
    pairs = [(block(pair, True, 0.1), block(pair, False, 0.1)) for pair in (0, 1)]
    found = summarise([measured(*blocks, counts=on, left_over=3) for blocks in pairs])
    assert found["completed"] == {"chosen": 200, "compared": 178, "share": 0.89}
    assert found["dropped"] == {"full": 2, "late": 4, "waiting_at_the_end_of_a_round": 16, "failed": 0, "unjudged": 0}
    assert found["left_over"] == 6
    assert found["wanted"] == {"p95_ratio_below_1.05": True, "completed_at_least_0.9": False}


def test_the_whole_interval_has_to_be_below() -> None:
    found = summarise(
        [measured(block(0, True, 0.1), block(0, False, 0.1), block(1, True, 0.108), block(1, False, 0.1))]
    )
    assert found["p95_ratio"]["value"] < 1.05
    assert not found["wanted"]["p95_ratio_below_1.05"]


def test_both_blocks_of_a_pair_are_asked_the_same() -> None:
    size, contents = Size(pairs=3, block_s=10.0, lead_s=4.0), [Content(example=str(n), text=str(n)) for n in range(50)]
    requests = planned(contents, 1, 7.0, size)
    blocks = [[(at - n * 10, each) for at, each in requests if n * 10 <= at < n * 10 + 10] for n in range(7)]
    for first, second in zip(blocks[:6:2], blocks[1:6:2], strict=True):
        assert [each for _, each in first] == [each for _, each in second]
        assert [at for at, _ in first] == pytest.approx([at for at, _ in second])
    assert blocks[0] != blocks[2]
    assert blocks[6], "the load goes on for a while"
    assert max(at for at, _ in requests) < 64


def test_blocks_take_turns() -> None:
    assert in_turns(0, 3) == [True, False, False, True, True, False]
    assert in_turns(1, 2) == [False, True, True, False]


def test_a_run_goes_on_after_its_last_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(rounds=3, block_s=2.0)
    first = BrokenOff.of(tmp_path, size)
    assert first.rounds == []
    first.rounds.append(measured(block(0, True, 0.2), block(0, False, 0.1), counts=Counts(compared=3)))
    first.keep()
    assert BrokenOff.of(tmp_path, size).rounds == first.rounds
    assert BrokenOff.of(tmp_path, Size(rounds=9, block_s=2.0)).rounds == first.rounds
    assert BrokenOff.of(tmp_path, Size(rounds=3, block_s=3.0)).rounds == [], "blocks of another length"
    with pytest.raises(InputError, match="has 1 already"):
        BrokenOff.of(tmp_path, Size(rounds=0, block_s=2.0))
    monkeypatch.setattr("deploy.shadow_cost.CODE", [])
    assert BrokenOff.of(tmp_path, size).rounds == [], "of other code"


def test_both_books_have_to_say_the_same() -> None:
    written = Written().plus(SHADOWED)
    assert written == Written(chosen=6, compared=2, failed=1, unjudged=1, dropped=2)
    assert written.settled
    assert written.agrees(Counts(compared=2, failed=1, unjudged=1, dropped_full=2))
    assert not written.agrees(Counts(compared=2, failed=1, unjudged=1, dropped_full=1, waiting=1))
    lost: dict[str, Any] = {**SHADOWED, "chosen": 7}
    assert not Written().plus(lost).settled


def test_counts_are_read_from_metrics() -> None:
    text = """\
# TYPE understudy_shadow_pairs counter
understudy_shadow_pairs_total{model="m",variant="int8",outcome="compared"} 7
understudy_shadow_pairs_total{model="m",variant="int8",outcome="dropped_full"} 2
understudy_shadow_pairs_total{model="m",variant="other",outcome="compared"} 9
# TYPE understudy_shadow_waiting gauge
understudy_shadow_waiting{model="m",variant="int8"} 3
"""
    found = counts_in(text, "m", "int8")
    assert found == Counts(compared=7, dropped_full=2, waiting=3)
    assert found.chosen == 12
    assert found.since(Counts(compared=5, waiting=1)) == Counts(compared=2, dropped_full=2, waiting=3)


def test_the_document_has_a_place_for_its_figures(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(DOCUMENT.read_text())
    put_into(document, "shadow-cost", "| measured |")
    put_into(document, "shadow-cost", "| again |")
    assert document.read_text().count("| again |") == 1
    assert "| measured |" not in document.read_text()
