"""Two engines in turns: the same examples each round, and a ratio with the interval of its rounds."""

import asyncio
import itertools

import pytest

from serve.evaluation.speedup import ROUNDS, side_by_side
from variants.progress import NoProgress
from variants.tasks import Example

EXAMPLES = [Example(str(number), "x", "a") for number in range(40)]


class Engine:
    """Takes `seconds` a request; knows who was asked, in which order, and how many were open at most."""

    def __init__(self, name: str, seconds: float, log: list[tuple[str, str]]) -> None:
        self.name, self.seconds, self.log_of = name, seconds, log
        self.open_now = self.most = 0

    async def __call__(self, example: Example) -> str:
        self.log_of.append((self.name, example.id))
        self.open_now += 1
        self.most = max(self.most, self.open_now)
        await asyncio.sleep(self.seconds)
        self.open_now -= 1
        return example.label


async def test_a_ratio_of_speeds_with_the_interval_of_its_rounds() -> None:
    log: list[tuple[str, str]] = []
    ours, theirs = Engine("ours", 0.002, log), Engine("theirs", 0.02, log)
    speedup = await side_by_side(ours, theirs, EXAMPLES, 0.2, 1.0, 4, NoProgress())
    assert speedup.rounds == ROUNDS
    for ratio in (speedup.single, speedup.saturated):
        assert 1 < ratio.low <= ratio.value <= ratio.high
    assert ours.most == theirs.most == 4
    asked = {name: sorted(example for each, example in log if each == name) for name in ("ours", "theirs")}
    assert asked["ours"] == asked["theirs"], "both the same examples"
    first = [name for name, _ in log]
    assert {("ours", "theirs"), ("theirs", "ours")} <= set(itertools.pairwise(first)), "in turns"


async def test_a_failing_engine_ends_it() -> None:
    async def broken(example: Example) -> str:
        raise ConnectionError("went away")

    with pytest.raises(ConnectionError, match="went away"):
        await side_by_side(broken, Engine("theirs", 0, []), EXAMPLES, 0.2, 1.0, 4, NoProgress())
