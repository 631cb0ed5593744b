"""Results of a replay: what is an outcome, what is an error, what is lost, and what counts as not sampled."""

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.config.snapshot import Judged
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.drain import Drain
from serve.dataplane.memory import Memory
from serve.dataplane.observations import Observations, Shadowed
from serve.dataplane.router import Assignment, Target
from serve.dataplane.upstream import Upstream
from serve.errors import NotReady
from serve.shadow import replayer as module
from serve.shadow.opinions.difference import Difference
from serve.shadow.replayer import Replayer
from serve.shadow.sampling import Sample, Selection
from variants.errors import EngineError
from variants.evidence.free_running import FreeAnswer


class Answer:
    """An answer with the score `right` by the label "pos", and 0.25 by any other; None: it cannot be scored."""

    def __init__(self, right: float | None, free: FreeAnswer = FreeAnswer("so it is", "stop")) -> None:
        self.right, self.free = right, free
        self.body, self.dropped = bytearray(), False

    def outcome(self, label: object) -> float | None:
        return self.right if label == "pos" or self.right is None else 0.25

    def answered(self) -> tuple[FreeAnswer, int]:
        return self.free, 2

    def again(self, reply: Reply) -> "Answer":
        return Answer(float(reply.body) if reply.body else None)

    def reply(self) -> Reply:
        return Reply(b"", None)


class Relay:
    """The reply of each engine to a replay, or the exception to raise; several are given one after the other."""

    def __init__(self, **replies: bytes | Exception | list[bytes | Exception]) -> None:
        self.replies = replies
        self.replayer: Replayer | None = None
        self.under_way: list[int] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def ask_out_of_band(self, upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        assert self.replayer is not None
        self.under_way.append(self.replayer.load_gate.under_way)
        self.asked.append((upstream.served.asked_as, json.loads(body)))
        reply = self.replies[upstream.served.asked_as]
        if isinstance(reply, list):
            reply = reply.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return Reply(reply, None)


def upstream(variant: str) -> Any:
    engine = SimpleNamespace(settings=SimpleNamespace(model_dump_json=lambda: "{}"))
    manifest = SimpleNamespace(digest=variant)
    served = SimpleNamespace(model="m", variant=variant, asked_as=variant, engine=engine, manifest=manifest)
    return SimpleNamespace(
        name=f"m@{variant}", labels=("m", variant), served=served, manifest=manifest, endpoint="there",
        has_only_shadow_load=False,
    )  # fmt: skip


def sample_of(label: str | None, request: str = "digest", document: dict[str, Any] | None = None) -> Sample:
    return Sample("b", request, 7, label, document or {"prompt": "is it"}, "/v1/completions", "id", "client")


class Stage:
    """A replayer of parent `a` and variant `b`. `offer` is about one request that `served` answered with `status`."""

    def __init__(self, relay: Relay, memory: Memory | None = None) -> None:
        self.of_model = {"a": upstream("a"), "b": upstream("b")}
        root = SimpleNamespace(parent=None, recipe=SimpleNamespace(kind="baseline"))
        variants = {"a": root, "b": SimpleNamespace(parent="a")}
        model = SimpleNamespace(task="text-generation", variants=variants, keep_answers=None, judge=None)
        self.judged: dict[str, Judged] = {}
        self.upstreams = SimpleNamespace(
            all=list,
            by_model={"m": self.of_model},
            models={"m": model},
            drain=Drain(),
            snapshot=SimpleNamespace(judged=self.judged),
        )
        self.observations = Observations()
        self.replayer = Replayer(cast(Any, self.upstreams), cast(Any, relay), self.observations, memory)
        relay.replayer = self.replayer

    def offer(
        self,
        answer: Answer,
        sample: Sample,
        served: str = "a",
        status: int = 200,
        by_engine: bool = True,
        streamed: bool = False,
        reasons: Mapping[str, str | None] | None = None,
    ) -> None:
        call = Call(Target("m"), None, lambda upstream: ("/v1/completions", b"{}"), {}, streamed, "r", size=1000)
        call.upstream, call.assignment = self.of_model[served], Assignment("m", served, "weight")
        call.status, call.started = status, by_engine
        self.replayer.offer(Selection([sample], reasons or {"b": None}), call, cast(Any, answer))

    async def carried_out(self) -> Shadowed:
        """What is counted when no replay waits."""
        working = asyncio.create_task(self.replayer.work())
        async with asyncio.timeout(10):
            while not self.replayer.queue.empty() or self.replayer.load_gate.under_way:
                await asyncio.sleep(0.001)
        working.cancel()
        await asyncio.wait([working])
        assert self.replayer.load_gate.under_way == 0
        return self.counted

    @property
    def counted(self) -> Shadowed:
        (shadowed,) = self.observations.of("m").shadows.values() or [Shadowed()]
        return shadowed


def replay(
    relay: Relay,
    answer: Answer,
    label: str | None = "pos",
    gone: bool = False,
    down: str = "",
    memory: Memory | None = None,
    **asked: Any,
) -> Shadowed:
    """Replay one request that `served` answered on the other one of parent `a` and variant `b`."""
    stage = Stage(relay, memory)
    stage.of_model["a"].endpoint, stage.of_model["b"].endpoint = (None if name in down else "there" for name in "ab")
    stage.offer(answer, sample_of(label), **asked)
    if gone:
        stage.upstreams.by_model = {"m": {"a": stage.of_model["a"]}}
    return asyncio.run(stage.carried_out())


def only(shadowed: Shadowed) -> dict[str, Any]:
    """The only pair, all that was chosen."""
    (pair,) = shadowed.pairs
    assert (shadowed.seen, shadowed.chosen, shadowed.skipped, shadowed.lost) == (1, 1, [], {})
    return pair


def ends(shadowed: Shadowed, metric: str = "quality") -> tuple[int, list[int], dict[str, list[int]], int]:
    """Numbers of chosen requests and of pairs; what was skipped, and what of the metric was lost."""
    assert set(shadowed.lost) <= {metric}
    return shadowed.chosen, shadowed.skipped, shadowed.lost.get(metric, {}), len(shadowed.pairs)


USUAL: dict[str, Any] = {
    "id": "id", "request": "digest", "length": 7, "client": "client", "trusted": False, "metric": "quality",
    "shuffled": None, "label": "7160f868", "failed": False, "lost": None, "segments": {"streamed": "no"},
    "divergence": None, "same": True,
}  # fmt: skip


def test_a_pair_says_whether_the_variant_was_asked() -> None:
    assert only(replay(Relay(b=b"0"), Answer(1.0))) == {**USUAL, "values": (0.0, 1.0), "asked": True}
    assert only(replay(Relay(a=b"1"), Answer(0.0), served="b")) == {**USUAL, "values": (0.0, 1.0), "asked": False}


@pytest.mark.parametrize("fault", [ReplayFailed("502"), ReplayFailed("400", refused=True), TimeoutError()])
@pytest.mark.parametrize("label", ["pos", None])
def test_a_variant_that_does_not_answer_has_failed_and_was_not_wrong(fault: Exception, label: str | None) -> None:
    pair = only(replay(Relay(b=fault), Answer(1.0), label=label))
    assert (pair["metric"], pair["values"], pair["lost"]) == (None, None, "variant failed")
    assert (pair["asked"], pair["failed"]) == (True, True)


@pytest.mark.parametrize("fault", [ReplayFailed("502"), ReplayFailed("400", refused=True), TimeoutError()])
def test_a_parent_that_does_not_answer_is_no_success_of_the_variant(fault: Exception) -> None:
    pair = only(replay(Relay(a=fault), Answer(1.0), served="b"))
    assert (pair["metric"], pair["values"], pair["lost"]) == (None, None, "parent failed")
    assert (pair["asked"], pair["failed"]) == (False, False)


@pytest.mark.parametrize(("served", "lost", "failed"), [("a", "parent failed", False), ("b", "variant failed", True)])
def test_an_answer_that_failed_its_client_was_not_wrong(served: str, lost: str, failed: bool) -> None:
    """The error of a client's request is counted with all requests, so only a replay on the variant is one more."""
    pair = only(replay(Relay(a=b"1", b=b"1"), Answer(None), served=served, status=502))
    assert (pair["metric"], pair["lost"], pair["asked"], pair["failed"]) == (None, lost, served == "a", failed)


@pytest.mark.parametrize("served", ["a", "b"])
@pytest.mark.parametrize("fault", [ReplayFailed("502"), ReplayFailed("400", refused=True), TimeoutError()])
def test_a_request_that_fails_at_both_counts_as_not_sampled(served: str, fault: Exception) -> None:
    shadowed = replay(Relay(a=fault, b=fault), Answer(None), served=served, status=502)
    assert (shadowed.seen, *ends(shadowed)) == (1, 0, [], {}, 0)


def test_a_parent_that_is_compared_with_itself_answers_as_both() -> None:
    relay = Relay(a=b"1")
    stage = Stage(relay)
    stage.judged["m"] = Judged(None, aa="b")
    stage.offer(Answer(1.0), sample_of("pos"))
    pair = only(asyncio.run(stage.carried_out()))
    assert (pair["values"], [name for name, _ in relay.asked]) == ((1.0, 1.0), ["a"])
    assert next(iter(stage.observations.of("m").shadows)).startswith("a:a:")


def test_a_pair_whose_answers_differ_is_passed_on_with_its_texts() -> None:
    stage = Stage(Relay(b=b"0"))
    passed: list[Difference] = []
    stage.replayer.keeper.offer = passed.append
    stage.offer(Answer(1.0, FreeAnswer("it is not", "stop")), sample_of("pos"))
    pair = only(asyncio.run(stage.carried_out()))
    assert pair["same"] is False
    (difference,) = passed
    assert (difference.model, difference.variant, difference.parent, difference.known) == ("m", "b", "a", -1)
    assert (difference.prompt, difference.answers, difference.id) == ("is it", ("so it is", "it is not"), "id")
    assert stage.replayer.tally.opinion(difference, 1, "judge")
    assert stage.counted.opinions == [
        {
            "id": "id", "request": "digest", "client": "client", "trusted": False, "segments": {"streamed": "no"},
            "outcome": 1, "by": "judge", "known": -1,
        }
    ]  # fmt: skip


def test_a_time_out_at_low_priority_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replayer, "is_low_priority", lambda self, replay: True)
    monkeypatch.setattr(Replayer, "admits", lambda self, replay: True)
    assert ends(replay(Relay(b=TimeoutError()), Answer(1.0))) == (1, [], {"timed out": [7]}, 0)


def test_an_answer_of_an_engine_takes_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(module, "REPLAY_LIMIT_S", 0.01)
    monkeypatch.setattr(Relay, "ask_out_of_band", never)
    assert only(replay(Relay(), Answer(1.0)))["lost"] == "variant failed"


@pytest.mark.parametrize("label", ["pos", None])
def test_a_request_that_the_parent_answers_and_the_variant_refused_is_one_error(label: str | None) -> None:
    pair = only(replay(Relay(a=b"1"), Answer(None), label=label, served="b", status=400))
    assert (pair["asked"], pair["failed"], pair["lost"], pair["metric"]) == (True, True, "variant failed", None)


def test_a_request_that_the_variant_answers_and_the_parent_refused_is_no_error() -> None:
    pair = only(replay(Relay(b=b"1"), Answer(None), status=400))
    assert (pair["asked"], pair["failed"], pair["lost"], pair["metric"]) == (True, False, "parent failed", None)


@pytest.mark.parametrize("served", ["a", "b"])
def test_a_request_that_both_refuse_counts_as_not_sampled(served: str) -> None:
    refusal = ReplayFailed("400", refused=True)
    shadowed = replay(Relay(a=refusal, b=refusal), Answer(None), served=served, status=400)
    assert (shadowed.seen, *ends(shadowed)) == (1, 0, [], {}, 0)


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


def test_a_replay_for_which_there_is_no_memory_is_lost() -> None:
    """Its size is the reason, so it may differ from others."""
    memory = Memory(2099)
    answer = Answer(1.0)
    answer.body += b"a" * 100
    assert ends(replay(Relay(b=b"1"), answer, memory=memory)) == (1, [], {"no memory": [7]}, 0)
    assert memory.held == 0


@pytest.mark.parametrize(
    ("reply", "right", "reason"),
    [
        (b"", None, "incomparable answer"),  # neither answer can be scored
        (EngineError("odd"), 1.0, "incomparable answer"),
        (KeyError(), 1.0, "incomparable answer"),
        (NotReady("starting again"), 1.0, "engine down"),
    ],
)
def test_what_has_no_outcome_is_lost_by_reason(reply: bytes | Exception, right: float | None, reason: str) -> None:
    assert ends(replay(Relay(b=reply), Answer(right))) == (1, [], {reason: [7]}, 0)


@pytest.mark.parametrize(("status", "reason"), [(499, "client left"), (429, "overloaded")])
def test_requests_without_an_answer_are_lost(status: int, reason: str) -> None:
    assert ends(replay(Relay(), Answer(None), status=status, by_engine=False)) == (1, [], {reason: [7]}, 0)


def test_what_the_server_itself_refuses_counts_as_not_sampled() -> None:
    assert ends(replay(Relay(), Answer(None), status=400, by_engine=False)) == (0, [], {}, 0)


def test_an_answer_without_a_score_is_wrong_beside_one_with_a_score() -> None:
    assert only(replay(Relay(b=b""), Answer(1.0)))["values"] == (0.0, 1.0)
    assert only(replay(Relay(b=b"1"), Answer(None)))["values"] == (1.0, 0.0)


def test_a_replay_whose_variant_was_removed_counts_as_not_sampled() -> None:
    assert ends(replay(Relay(b=b"1"), Answer(1.0), gone=True)) == (0, [], {}, 0)


@pytest.mark.parametrize("down", ["a", "b"])
def test_no_request_counts_as_sampled_while_an_engine_is_down(down: str) -> None:
    shadowed = replay(Relay(b=b"1"), Answer(1.0), down=down)
    assert (shadowed.seen, *ends(shadowed)) == (1, 0, [], {}, 0)


def test_what_the_servers_end_breaks_off_counts_as_not_sampled() -> None:
    stage = Stage(Relay())
    stage.upstreams.drain.over = True
    stage.offer(Answer(1.0), sample_of("pos"), status=503)
    assert ends(stage.counted) == (0, [], {}, 0)


def test_a_replay_that_waited_for_a_restart_counts_as_not_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    monkeypatch.setattr(Replayer, "admits", lambda self, replay: setattr(replay.variant, "endpoint", None))
    assert ends(replay(Relay(b=b"1"), Answer(1.0))) == (0, [], {}, 0)


def test_a_replay_that_waited_too_long_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    monkeypatch.setattr(Replayer, "admits", lambda self, replay: False)
    assert ends(replay(Relay(b=b"1"), Answer(1.0))) == (1, [7], {}, 0)


def test_a_replay_that_finds_the_queue_full_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 1)
    stage = Stage(Relay())
    for _ in range(3):
        stage.offer(Answer(1.0), sample_of("pos"))
    assert ends(stage.counted) == (3, [7, 7], {}, 0)


def test_a_replay_that_the_servers_end_breaks_off_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken_off() -> Shadowed:
        stage = Stage(relay := Relay())
        begun = asyncio.Event()

        async def never(*args: object) -> Reply:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(relay, "ask_out_of_band", never)
        stage.offer(Answer(1.0), sample_of("pos"))
        stage.replayer.tasks = [asyncio.create_task(stage.replayer.work())]
        async with asyncio.timeout(10):
            await begun.wait()
        stage.offer(Answer(1.0), sample_of("pos"))
        await stage.replayer.stop()
        return stage.counted

    assert ends(asyncio.run(broken_off())) == (2, [7], {"server ended": [7]}, 0)


def test_a_stream_that_the_variant_answered_is_not_scored_by_itself() -> None:
    assert ends(replay(Relay(), Answer(1.0), served="b", streamed=True)) == (0, [], {}, 0)


def test_pairs_beyond_the_limit_of_a_batch_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.dataplane.observations.MOST", 0)
    assert ends(replay(Relay(b=b"1"), Answer(1.0))) == (1, [7], {}, 0)


def test_requests_that_cannot_be_compared_are_counted_by_reason() -> None:
    stage = Stage(Relay())
    call = Call(Target("m"), None, lambda upstream: ("", b""), {}, False, "r")
    for reason in ("several answers", "opted out", "several answers"):
        stage.replayer.offer(Selection([], {"b": reason}), call, cast(Any, Answer(1.0)))
    shadowed = stage.counted
    assert (shadowed.seen, shadowed.chosen) == (3, 0)
    assert shadowed.incomparable == {"several answers": 2, "opted out": 1}


def test_the_parents_answer_is_scored_by_another_requests_label_too() -> None:
    stage = Stage(Relay(b=b"0"))
    for request, label in (("one", "neg"), ("other", "pos"), ("other", "pos")):
        stage.offer(Answer(1.0), sample_of(label, request))
    one, *others = asyncio.run(stage.carried_out()).pairs
    assert (one["values"], one["shuffled"]) == ((0.25, 0.25), 1.0)
    assert [(each["values"], each["shuffled"]) for each in others] == [((0.0, 1.0), 0.25)] * 2


@pytest.mark.parametrize(("served", "shuffled"), [("a", 0.25), ("b", None)])
def test_only_the_parents_answer_is_scored_by_another_label(served: str, shuffled: float | None) -> None:
    """When `b` has answered the client, the parent answers without a score here."""
    stage = Stage(Relay(a=b"", b=b"1"))
    stage.replayer.labels.add("m", None, "another", "neg")
    stage.offer(Answer(1.0), sample_of("pos"), served=served)
    assert only(asyncio.run(stage.carried_out()))["shuffled"] == shuffled


def text(answer: str, finish: str = "stop") -> bytes:
    return json.dumps({"choices": [{"text": answer, "finish_reason": finish}]}).encode()


def scores(*tokens: int) -> bytes:
    """Log probabilities of a prompt whose most likely tokens are these."""
    places = [{str(token): {"logprob": -0.1}} for token in tokens]
    return json.dumps({"choices": [{"prompt_logprobs": [None, *places]}]}).encode()


def test_texts_agree_by_what_both_write_and_by_how_both_score_the_parents_answer() -> None:
    relay = Relay(a=[text("so it is"), scores(1, 2), scores(1, 2)], b=[text("so is it"), scores(1, 3)])
    stage = Stage(relay)
    stage.offer(Answer(None), sample_of(None, document={"prompt": "is it", "temperature": 0, "stream": True}))
    pair = only(asyncio.run(stage.carried_out()))
    assert (pair["metric"], pair["values"], pair["asked"]) == ("agreement", (0.75, 1.0), True)
    assert pair["checks"] == {
        "equal": 0, "same_until": 0.5, "length_ratio": 1.0, "stop_differs": 0, "repetition": 0.0,
    }  # fmt: skip
    assert [(name, "prompt_logprobs" in body) for name, body in relay.asked] == [
        ("b", False), ("a", False), ("a", True), ("b", True), ("a", True),
    ]  # fmt: skip
    assert relay.asked[0][1] == {"prompt": "is it", "temperature": 0, "max_tokens": 36, "model": "b"}


def test_a_variant_that_never_stops_agrees_less_than_the_parent_with_itself() -> None:
    relay = Relay(a=[text("so it is"), scores(1), scores(1)], b=[text("so it is so it is", "length"), scores(1)])
    stage = Stage(relay)
    stage.offer(Answer(None), sample_of(None, document={"prompt": "is it", "temperature": 0}))
    pair = only(asyncio.run(stage.carried_out()))
    assert pair["values"] == (0.75, 1.0)
    assert pair["checks"]["stop_differs"] == 1


def test_answers_with_tools_are_compared_by_their_calls_alone() -> None:
    def call(arguments: str) -> bytes:
        function = {"name": "weather", "arguments": arguments}
        message = {"content": None, "tool_calls": [{"function": function}]}
        return json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()

    own = FreeAnswer("", "tool_calls", (("weather", '{"city": "Bonn", "day": 1}'),))
    stage = Stage(Relay(a=call('{"day": 1, "city": "Bonn"}'), b=call('{"city": "Berlin", "day": 1}')))
    stage.offer(Answer(None, own), sample_of(None, document={"messages": [], "tools": [{}], "seed": 1}))
    assert only(asyncio.run(stage.carried_out()))["values"] == (0.0, 1.0)


def test_an_empty_answer_is_lost() -> None:
    shadowed = replay(Relay(), Answer(None, FreeAnswer("")), label=None)
    assert ends(shadowed, "agreement") == (1, [], {"empty answer": [7]}, 0)


@pytest.mark.parametrize(
    ("message", "reason"), [("maximum context length", "context overflow"), ("no", "scoring refused")]
)
def test_a_scoring_request_that_is_refused_is_no_failure(message: str, reason: str) -> None:
    """No client sends it."""
    refusal = ReplayFailed(message, refused=True)
    relay = Relay(a=[text("so"), text("so"), scores(1)], b=[text("so"), refusal])
    assert ends(replay(relay, Answer(None), label=None), "agreement") == (1, [], {reason: [7]}, 0)


def test_a_pair_without_an_outcome_is_passed_on_to_nobody() -> None:
    """Both wrote an answer, and then the variant fails to score the parent's."""
    relay = Relay(a=[text("so it is"), text("so it is"), scores(1)], b=[text("it is not"), ReplayFailed("502")])
    stage = Stage(relay)
    passed: list[Difference] = []
    stage.replayer.keeper.offer = passed.append
    stage.offer(Answer(None), sample_of(None))
    pair = only(asyncio.run(stage.carried_out()))
    assert (pair["metric"], pair["lost"], pair["same"]) == (None, "variant failed", False)
    assert passed == []
