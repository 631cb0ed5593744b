"""What a sender of an opinion is told: whether it counts, and if not, why."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.api.pairs import REPORTED_S, Pairs
from serve.config.keep_answers import KeepAnswers
from serve.errors import NotReady
from serve.shadow.opinions.answer_store import AnswerStore
from tests.unit.serve.shadow.opinions.test_answer_store import difference

REQUEST = "0123456789abcdef"
KEEP = {"m": KeepAnswers()}


class Controller:
    def __init__(self, why: str | None) -> None:
        self.why, self.asked, self.is_ready = why, list[tuple[str, str]](), True

    async def why_not_counted(self, key: str, pair: str) -> str | None:
        self.asked.append((key, pair))
        if not self.is_ready:
            raise NotReady("the controller is not ready")
        return self.why


class Stage:
    """Opinions on one kept pair of that age."""

    def __init__(self, folder: Path, age_s: float, why: str | None = None) -> None:
        self.is_full = False
        store, self.told, self.controller = AnswerStore(folder / "kept.sqlite"), list[int](), Controller(why)
        store.update([replace(difference(REQUEST), at=time.time() - age_s)], KEEP, time.time())
        model = SimpleNamespace(task="text-generation")
        stack = SimpleNamespace(server=SimpleNamespace(keys=None))
        upstreams = SimpleNamespace(
            snapshot=SimpleNamespace(stack=stack), models={"m": model}, kind_of=lambda task: None
        )
        keeper, tally = SimpleNamespace(store=store, settings=KEEP), SimpleNamespace(opinion=self.count)
        self.pairs = Pairs(cast(Any, upstreams), cast(Any, keeper), cast(Any, tally))

    def count(self, pair: Any, outcome: int, by: str) -> bool:
        if self.is_full:
            return False
        self.told.append(outcome)
        return True

    async def say(self, **what: Any) -> dict[str, Any]:
        return await self.pairs.judge({"request_id": REQUEST, **what}, None, cast(Any, self.controller))


async def test_only_the_first_opinion_counts(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2 * REPORTED_S)
    counted = {"counted": True, "model": "m", "variant": "int8"}
    assert await stage.say(variant="int8", outcome=-1) == counted
    second = await stage.say(variant="int8", outcome=1)
    assert second == {**counted, "counted": False, "why": "another opinion on this pair came first"}
    assert (stage.told, stage.controller.asked) == ([-1], [("a:b:c", REQUEST)])


@pytest.mark.parametrize(("age_s", "counted"), [(2 * REPORTED_S, False), (0.0, True)])
async def test_a_pair_that_does_not_count_is_told_to_whoever_judges_it(
    tmp_path: Path, age_s: float, counted: bool
) -> None:
    """The controller is not asked about a pair that may not have reached it."""
    stage = Stage(tmp_path, age_s, why="its client brought more than its share")
    receipt = await stage.say(variant="int8", outcome=1)
    assert (receipt["counted"], "why" in receipt, stage.told) == (counted, not counted, [1] if counted else [])


async def test_a_label_by_which_neither_answer_is_right_says_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2 * REPORTED_S)
    assert (await stage.say(label="zzz"))["why"] == "neither answer is right by this label"
    assert stage.told == []


async def test_an_opinion_that_could_not_be_counted_can_be_sent_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2 * REPORTED_S)
    stage.controller.is_ready = False
    with pytest.raises(NotReady):
        await stage.say(variant="int8", outcome=1)
    stage.controller.is_ready, stage.is_full = True, True
    assert (await stage.say(variant="int8", outcome=1))["why"] == "too many opinions wait for the controller"
    stage.is_full = False
    assert (await stage.say(variant="int8", outcome=1))["counted"]
    assert stage.told == [1]
