"""A judge is asked in both orders; what it says is read strictly, and every question ends in one way."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve import metrics
from serve.config.judge import Judge
from serve.dataplane.call import ReplayFailed, Reply
from serve.shadow.opinions import judge as judge_module
from serve.shadow.opinions.difference import Difference
from serve.shadow.opinions.judge import Judges
from tests.unit.serve.shadow.opinions.test_answer_store import difference

Say = Callable[[str, str], str]
"""What the judge says of the answers A and B."""
PAIR = replace(difference("a"), answers=("of the variant", "of the parent"))


class Stage:
    """Judges of the model `m`, whose judge is `big`."""

    def __init__(self, say: Say | Exception, load: bool = True, keys: Any = None) -> None:
        self.say, self.asked, self.counted = say, list[str](), list[tuple[str, int]]()
        big = SimpleNamespace(endpoint="there", served=SimpleNamespace(asked_as="big-engine", weight=1.0))
        model = SimpleNamespace(judge=Judge(model="big"), keep_answers=None)
        self.upstreams = SimpleNamespace(
            models={"m": model},
            resolved=lambda target: target,
            model=lambda name: {"baseline": big},
            snapshot=SimpleNamespace(stack=SimpleNamespace(server=SimpleNamespace(keys=keys))),
        )
        gate = SimpleNamespace(admits=lambda waited_s, crowded: load)
        relay = SimpleNamespace(ask_out_of_band=self.ask)
        self.judges = Judges(cast(Any, self.upstreams), cast(Any, relay), cast(Any, gate), self.count)

    async def ask(self, upstream: Any, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        document = json.loads(body)
        assert (document["model"], document["temperature"], path) == ("big-engine", 0, "/v1/chat/completions")
        shown = document["messages"][1]["content"]
        self.asked.append(shown)
        if isinstance(self.say, Exception):
            raise self.say
        first, second = (shown.split(f"Answer {name}:\n")[1].split("\n")[0] for name in "AB")
        return Reply(json.dumps({"choices": [{"message": {"content": self.say(first, second)}}]}).encode(), None)

    def count(self, pair: Difference, outcome: int) -> None:
        self.counted.append((pair.id, outcome))

    async def result(self, pair: Difference = PAIR) -> str:
        """What comes of the question about a pair."""
        metrics.judged.clear()
        self.judges.offer(pair)
        self.judges.start()
        async with asyncio.timeout(5):
            while not (samples := [each for each in metrics.judged.collect()[0].samples if each.value]):
                await asyncio.sleep(0.001)
        await self.judges.stop()
        return next(each.labels["outcome"] for each in samples if each.name.endswith("_total"))


@pytest.mark.parametrize(
    ("say", "result", "outcome"),
    [
        (lambda first, second: "A" if "variant" in first else "B", "variant", 1),
        (lambda first, second: " b.\n" if "variant" in first else "a", "parent", -1),
        (lambda first, second: "Tie", "tie", 0),
        (lambda first, second: "A", "tie", 0),  # it always prefers the first
        (lambda first, second: "tie" if "variant" in first else "B", "tie", 0),
        (lambda first, second: "A is better", "unusable", None),
        (lambda first, second: "A" if "variant" in first else "neither", "unusable", None),
    ],
)
async def test_both_orders_have_to_agree(say: Say, result: str, outcome: int | None) -> None:
    stage = Stage(say)
    assert await stage.result() == result
    assert stage.counted == ([] if outcome is None else [("a", outcome)])


async def test_it_sees_prompt_and_answers_in_both_orders_and_no_names() -> None:
    stage = Stage(lambda first, second: "tie")
    await stage.result()
    assert len(stage.asked) == 2
    for shown in stage.asked:
        assert "user: hello" in shown
        assert not [name for name in ("int8", "baseline", "m@") if name in shown]
    places = [shown.index("of the variant") < shown.index("of the parent") for shown in stage.asked]
    assert places == [True, False]


@pytest.mark.parametrize(
    ("error", "result"), [(ReplayFailed("it answered 500"), "failed"), (TimeoutError(), "timed_out")]
)
async def test_a_judge_that_does_not_answer_gives_no_outcome(error: Exception, result: str) -> None:
    stage = Stage(error)
    assert await stage.result() == result
    assert stage.counted == []


async def test_a_question_waits_for_low_load_and_is_dropped_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "WAIT_S", 0.01)
    stage = Stage(lambda first, second: "A", load=False)
    assert await stage.result() == "dropped_late"
    assert (stage.asked, stage.counted) == ([], [])


async def test_about_pairs_with_a_label_it_is_asked_a_limited_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "MEASURED", 2)
    stage = Stage(lambda first, second: "A")
    trusted = dict(PAIR.pair) | {"trusted": True}
    for known, pair in ((1, trusted), (0, trusted), (-1, trusted), (None, trusted), (1, PAIR.pair)):
        stage.judges.offer(replace(PAIR, known=known, pair=pair))
    assert stage.judges.queue.qsize() == 4


async def test_a_pair_that_is_not_queued_does_not_count_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "MEASURED", 1)
    stage = Stage(lambda first, second: "A")
    trusted = replace(PAIR, known=1, pair={**PAIR.pair, "trusted": True})
    for pair in (replace(trusted, prompt="a" * 50_000), trusted, trusted):
        stage.judges.offer(pair)
    assert stage.judges.queue.qsize() == 1


async def test_one_key_with_many_names_holds_at_most_half_of_the_queue() -> None:
    stage = Stage(lambda first, second: "A")

    def offer(name: str, sender: str | None) -> None:
        stage.judges.offer(replace(PAIR, sender=sender, pair={**PAIR.pair, "client": name}))

    for number in range(judge_module.QUEUE):
        offer(f"c{number}", "k1")
    assert stage.judges.queue.qsize() == judge_module.MOST_OF_A_KEY == 128
    offer("other", "k2")
    await stage.judges.next()
    offer("c", "k1")
    assert stage.judges.queue.qsize() == judge_module.MOST_OF_A_KEY + 1


async def test_a_full_queue_drops_and_pictures_are_not_asked() -> None:
    metrics.judged.clear()
    stage = Stage(lambda first, second: "A")
    stage.judges.offer(replace(PAIR, prompt=None))
    stage.judges.offer(replace(PAIR, model="without a judge"))
    assert stage.judges.queue.empty()
    stage.judges.offer(replace(PAIR, prompt="a" * 50_000))
    assert metrics.judged.labels("m", "int8", "too_long")._value.get() == 1
    for _ in range(judge_module.QUEUE + 1):
        stage.judges.offer(PAIR)
    assert metrics.judged.labels("m", "int8", "dropped_full")._value.get() == 1


async def test_one_client_holds_at_most_its_share_of_the_queue() -> None:
    """A key that is trusted to label, and requests without a name, have no share. A place is free again afterwards."""
    metrics.judged.clear()
    stage, of_one = Stage(lambda first, second: "A"), replace(PAIR, pair={**PAIR.pair, "client": "c1"})
    for _ in range(judge_module.MOST_OF_A_CLIENT + 3):
        stage.judges.offer(of_one)
    assert stage.judges.queue.qsize() == judge_module.MOST_OF_A_CLIENT == 26
    assert metrics.judged.labels("m", "int8", "over_share")._value.get() == 3
    for pair in ({**of_one.pair, "trusted": True}, {**of_one.pair, "client": "c2"}, PAIR.pair):
        stage.judges.offer(replace(PAIR, pair=pair))
    assert stage.judges.queue.qsize() == judge_module.MOST_OF_A_CLIENT + 3
    await stage.judges.next()
    stage.judges.offer(of_one)
    assert stage.judges.queue.qsize() == judge_module.MOST_OF_A_CLIENT + 3


@pytest.mark.parametrize(
    ("keys", "trusted", "known"), [(None, False, 1), ({"team": "a key"}, False, None), ({"team": "a key"}, True, 1)]
)
async def test_a_label_that_is_not_trusted_does_not_measure_the_judge(
    keys: Any, trusted: bool, known: int | None
) -> None:
    stage = Stage(lambda first, second: "A", keys=keys)
    stage.judges.offer(replace(PAIR, known=1, pair={**PAIR.pair, "trusted": trusted}))
    asked, _ = await stage.judges.next()
    assert asked.known == known
