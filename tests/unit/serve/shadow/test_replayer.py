"""Results of a replay, and which failures count as the variant's."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.memory import Memory
from serve.dataplane.observations import Observations, Shadowed
from serve.dataplane.router import Assignment, Target
from serve.dataplane.upstream import Upstream
from serve.errors import NotReady
from serve.shadow import replayer as module
from serve.shadow.replayer import Replayer
from serve.shadow.sampling import Sample
from variants.errors import EngineError


class Answer:
    """An answer with the score `right`; None: it cannot be scored."""

    def __init__(self, right: float | None) -> None:
        self.right = right
        self.body = bytearray()

    def outcome(self, label: object) -> float | None:
        return self.right

    def answered(self) -> tuple[str, int]:
        return "so", 2

    def again(self, reply: Reply) -> "Answer":
        return Answer(float(reply.body) if reply.body else None)

    def reply(self) -> Reply:
        return Reply(b"", None)


class Relay:
    """The reply of each engine to a replay, or the exception to raise."""

    def __init__(self, **replies: bytes | Exception) -> None:
        self.replies = replies
        self.replayer: Replayer | None = None
        self.under_way: list[int] = []

    async def ask_out_of_band(self, upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        assert self.replayer is not None
        self.under_way.append(self.replayer.load_gate.under_way)
        reply = self.replies[upstream.served.asked_as]
        if isinstance(reply, Exception):
            raise reply
        return Reply(reply, None)


def upstream(variant: str) -> Any:
    served = SimpleNamespace(model="m", variant=variant, asked_as=variant)
    return SimpleNamespace(
        name=f"m@{variant}", labels=("m", variant), served=served,
        manifest=SimpleNamespace(digest=variant), endpoint="there", has_only_shadow_load=False,
    )  # fmt: skip


def replay(
    relay: Relay,
    answer: Answer,
    label: str | None = "pos",
    served: str = "a",
    status: int = 200,
    gone: bool = False,
    down: str = "",
    streamed: bool = False,
    memory: Memory | None = None,
) -> Shadowed:
    """Replay one request that `served` answered on the other one of parent `a` and variant `b`."""
    of_model = {"a": upstream("a"), "b": upstream("b")}
    model = SimpleNamespace(task="text-generation", variants={"b": SimpleNamespace(parent="a")})
    upstreams = SimpleNamespace(all=list, by_model={"m": of_model}, models={"m": model})
    observations = Observations()
    replayer = relay.replayer = Replayer(cast(Any, upstreams), cast(Any, relay), observations, memory)
    call = Call(Target("m"), None, lambda upstream: ("/v1/completions", b"{}"), {}, streamed, "r", size=1000)
    call.upstream, call.assignment, call.status = of_model[served], Assignment("m", served, "weight"), status
    of_model["a"].endpoint, of_model["b"].endpoint = (None if name in down else "there" for name in "ab")
    replayer.offer([Sample("b", "digest", 7, label, {"prompt": "is it"}, "/v1/completions")], call, cast(Any, answer))
    if gone:
        upstreams.by_model = {"m": {"a": of_model["a"]}}

    async def all_that_wait() -> None:
        working = asyncio.create_task(replayer.work())
        async with asyncio.timeout(10):
            while not replayer.queue.empty() or replayer.load_gate.under_way:
                await asyncio.sleep(0.001)
        working.cancel()
        await asyncio.wait([working])

    asyncio.run(all_that_wait())
    assert replayer.load_gate.under_way == 0
    return observations.shadowed("m", "a:b")


def only(shadowed: Shadowed) -> dict[str, Any]:
    (pair,) = shadowed.pairs
    assert (shadowed.chosen, shadowed.dropped, shadowed.unjudged) == (1, [], [])
    return pair


def test_a_pair_says_whether_the_variant_was_asked() -> None:
    usual = {"request": "digest", "length": 7, "metric": "quality", "failed": False}
    assert only(replay(Relay(b=b"0"), Answer(1.0))) == {**usual, "values": (0.0, 1.0), "asked": True}
    assert only(replay(Relay(a=b"1"), Answer(0.0), served="b")) == {**usual, "values": (0.0, 1.0), "asked": False}


@pytest.mark.parametrize("refused", [False, True])
def test_a_variant_that_does_not_answer_was_wrong(refused: bool) -> None:
    pair = only(replay(Relay(b=ReplayFailed("no", refused)), Answer(1.0)))
    assert (pair["metric"], pair["values"], pair["asked"], pair["failed"]) == ("quality", (0.0, 1.0), True, True)


@pytest.mark.parametrize(
    "reply", [b"1", ReplayFailed("no", refused=False), TimeoutError(), EngineError("no"), KeyError()]
)
def test_a_replay_is_under_way_until_it_has_ended(reply: bytes | Exception) -> None:
    relay = Relay(b=reply)
    replay(relay, Answer(1.0))
    assert relay.under_way == [1]


@pytest.mark.parametrize("reply", [b"1", ReplayFailed("no", refused=False)])
def test_a_replay_holds_memory_until_it_has_ended(reply: bytes | Exception) -> None:
    memory, answer = Memory(2100), Answer(1.0)
    answer.body += b"a" * 100
    assert only(replay(Relay(b=reply), answer, memory=memory))
    assert memory.held == 0


def test_a_replay_for_which_there_is_no_memory_is_dropped() -> None:
    memory = Memory(2099)
    answer = Answer(1.0)
    answer.body += b"a" * 100
    shadowed = replay(Relay(b=b"1"), answer, memory=memory)
    assert (shadowed.chosen, shadowed.dropped, shadowed.pairs, memory.held) == (1, [7], [], 0)


def test_without_a_label_it_is_one_error_and_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    async def compare(ask: Any, parent: Upstream, variant: Upstream, *rest: object) -> None:
        await ask(parent, "/", b"", {})
        await ask(variant, "/", b"", {})

    monkeypatch.setattr(module, "compare_text", compare)
    pair = only(replay(Relay(a=b"", b=ReplayFailed("500")), Answer(None), label=None))
    assert (pair["metric"], pair["asked"], pair["failed"]) == (None, True, True)
    for nobodys in (Relay(a=ReplayFailed("500"), b=b""), Relay(a=b"", b=ReplayFailed("too long", refused=True))):
        shadowed = replay(nobodys, Answer(None), label=None)
        assert (shadowed.chosen, shadowed.unjudged, shadowed.pairs) == (1, [7], [])


@pytest.mark.parametrize(
    ("relay", "right", "served"),
    [
        (Relay(a=ReplayFailed("502")), 1.0, "b"),  # the parent is down
        (Relay(b=b""), None, "a"),  # neither answer can be scored
        (Relay(b=EngineError("odd")), 1.0, "a"),
        (Relay(b=NotReady("starting again")), 1.0, "a"),
    ],
)
def test_failures_of_others_are_not_the_variants_errors(relay: Relay, right: float | None, served: str) -> None:
    shadowed = replay(relay, Answer(right), served=served)
    assert (shadowed.chosen, shadowed.unjudged, shadowed.pairs) == (1, [7], [])


def test_an_answer_without_a_score_is_wrong_beside_one_with_a_score() -> None:
    assert only(replay(Relay(b=b""), Answer(1.0)))["values"] == (0.0, 1.0)
    assert only(replay(Relay(b=b"1"), Answer(None)))["values"] == (1.0, 0.0)


def test_a_replay_whose_variant_was_removed_counts_as_not_sampled() -> None:
    shadowed = replay(Relay(b=b"1"), Answer(1.0), gone=True)
    assert (shadowed.chosen, shadowed.unjudged, shadowed.pairs) == (0, [], [])


@pytest.mark.parametrize("down", ["a", "b"])
def test_no_request_counts_as_sampled_while_an_engine_is_down(down: str) -> None:
    shadowed = replay(Relay(b=b"1"), Answer(1.0), down=down)
    assert (shadowed.chosen, shadowed.dropped, shadowed.unjudged, shadowed.pairs) == (0, [], [], [])


def test_a_replay_that_waited_for_a_restart_counts_as_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    monkeypatch.setattr(Replayer, "admits", lambda self, replay: setattr(replay.variant, "endpoint", None))
    shadowed = replay(Relay(b=b"1"), Answer(1.0))
    assert (shadowed.chosen, shadowed.dropped, shadowed.pairs) == (0, [], [])


@pytest.mark.parametrize(("served", "values"), [("b", (0.0, 1.0)), ("a", (1.0, 0.0))])
def test_an_answer_that_failed_its_client_is_wrong_in_the_pair(served: str, values: tuple[float, float]) -> None:
    pair = only(replay(Relay(a=b"1", b=b"1"), Answer(None), served=served, status=502))
    assert (pair["metric"], pair["values"], pair["asked"], pair["failed"]) == ("quality", values, served == "a", False)


def test_a_failed_answer_without_a_label_is_unjudged() -> None:
    shadowed = replay(Relay(), Answer(None), label=None, status=502)
    assert (shadowed.chosen, shadowed.unjudged, shadowed.pairs) == (1, [7], [])


@pytest.mark.parametrize("status", [400, 429, 499])
def test_a_request_that_no_engine_got_counts_as_not_sampled(status: int) -> None:
    assert replay(Relay(), Answer(1.0), status=status).chosen == 0


def test_a_stream_that_the_variant_answered_is_not_scored_by_itself() -> None:
    shadowed = replay(Relay(), Answer(1.0), served="b", streamed=True)
    assert (shadowed.chosen, shadowed.pairs) == (0, [])


def test_pairs_beyond_the_limit_of_a_batch_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.dataplane.observations.MOST", 0)
    shadowed = replay(Relay(b=b"1"), Answer(1.0))
    assert (shadowed.chosen, shadowed.dropped, shadowed.pairs) == (1, [7], [])
