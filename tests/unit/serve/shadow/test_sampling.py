"""Which requests are sampled for comparison, with which variants, and why others cannot be compared."""

from types import SimpleNamespace
from typing import Any

import pytest

from serve.config.capabilities import NOTHING, Capabilities, Needs
from serve.config.server.api_keys import Key
from serve.config.snapshot import Judged, Segment
from serve.dataplane.call import Call
from serve.dataplane.router import Target
from serve.protocols.hash_keys import HashKeys
from serve.shadow.sampling import Asked, Sample, Selection, fraction, sample

PATH = "/v1/completions"
PROMPT = {"prompt": "is it"}
KEYS = {
    "clerk": Key.model_validate({"sha256": "1" * 64, "rights": ["infer", "label"]}),
    "client": Key.model_validate({"sha256": "2" * 64}),
    "reader": Key.model_validate({"sha256": "3" * 64, "rights": ["infer"]}),
}


def upstreams(keys: HashKeys | None = None, **shares: float) -> Any:
    """A model whose shadows compare these shares; `adapter` is an adapter."""
    of_model = {name: upstream(Capabilities(logprobs=True), name == "adapter") for name in shares}
    of_model["parent"] = upstream(Capabilities(tools=True, logprobs=True))
    variants = {name: SimpleNamespace(parent="parent") for name in shares}
    variants["parent"] = SimpleNamespace(parent=None, recipe=SimpleNamespace(kind="baseline"))
    traffic = {"m": SimpleNamespace(traffic=SimpleNamespace(shadows=shares))}
    models = {"m": SimpleNamespace(variants=variants)}
    judged = {"m": Judged(None, segments={"language": Segment(header="x-language", values=("en", "de"))})}
    stack = SimpleNamespace(server=SimpleNamespace(keys=KEYS))
    snapshot = SimpleNamespace(traffic=traffic, judged=judged, stack=stack)
    return SimpleNamespace(
        snapshot=snapshot, by_model={"m": of_model}, models=models, hash_keys=keys or HashKeys(), known_tasks=("sst2",)
    )


def upstream(can: Capabilities, is_adapter: bool = False) -> Any:
    return SimpleNamespace(served=SimpleNamespace(adapter=is_adapter or None, capabilities=can))


def selected(
    upstreams: Any,
    label: str | None = None,
    path: str = PATH,
    request_id: str = "r",
    needs: Needs = NOTHING,
    variant: str | None = None,
    headers: dict[str, str] | None = None,
    document: dict[str, Any] | None = None,
    key: str | None = None,
    client: str | None = None,
) -> Selection:
    call = Call(Target("m", variant), client, lambda upstream: (path, b""), {}, False, request_id, needs=needs, key=key)
    return sample(upstreams, call, Asked(path, b"{}", label, document or PROMPT, headers or {}))


def sampled_for(upstreams: Any, **asked: Any) -> list[str]:
    """The variants that one request is sampled for."""
    return [each.variant for each in selected(upstreams, **asked).samples]


def only(selection: Selection) -> Sample:
    (each,) = selection.samples
    return each


def test_each_shadow_compares_its_share_by_the_requests_id() -> None:
    ids = [f"request {number}" for number in range(400)]
    sampled = [request_id for request_id in ids if sampled_for(upstreams(int8=0.25), request_id=request_id)]
    assert 60 < len(sampled) < 140
    assert {each for each in ids if sampled_for(upstreams(int8=0.5), request_id=each)} > set(sampled)
    assert sampled_for(upstreams(int8=1.0, nf4=1.0)) == ["int8", "nf4"]
    both = [sampled_for(upstreams(int8=0.25, nf4=0.25), request_id=each) for each in ids]
    assert [each for each in both if each] == [["int8", "nf4"]] * len(sampled)


def test_a_sample_knows_its_key_whatever_name_the_client_chose() -> None:
    one, other = (only(selected(upstreams(int8=1.0), key="k", client=name)) for name in ("a", "b"))
    assert one.client != other.client
    assert one.sender == other.sender is not None
    assert only(selected(upstreams(int8=1.0), client="a")).sender is None


def test_nobody_without_the_servers_key_knows_which_requests_are_sampled() -> None:
    ids = [f"request {number}" for number in range(400)]
    first, second = (
        {each for each in ids if sampled_for(upstreams(HashKeys(sample=key), int8=0.5), request_id=each)}
        for key in (b"one", b"other")
    )
    assert 60 < len(first & second) < 140
    assert fraction(b"a", b"one") != fraction(b"a", b"other")


@pytest.mark.parametrize(("variant", "path"), [("int8", PATH), (None, "/tokenize")])
def test_requests_that_name_a_variant_or_count_tokens_are_not_of_the_shadows_traffic(
    variant: str | None, path: str
) -> None:
    assert selected(upstreams(int8=1.0), path=path, variant=variant) == Selection()


def test_a_shadow_without_a_share_sees_nothing() -> None:
    assert selected(upstreams(int8=0.0)) == Selection()


def test_a_request_that_is_not_sampled_is_seen() -> None:
    selection = selected(upstreams(int8=1e-12))
    assert (selection.samples, selection.reasons) == ([], {"int8": None})


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"document": PROMPT | {"n": 2}}, "several answers"),
        ({"document": PROMPT | {"echo": True}}, "echo"),
        ({"headers": {"x-understudy-shadow": "off"}}, "opted out"),
        ({"headers": {"x-understudy-shadow": "off"}, "label": "pos"}, "opted out"),
        ({"needs": Needs({"tools": "tools"})}, "capability"),
        ({"document": PROMPT | {"n": 2, "stream": True}, "label": "pos"}, "several answers"),
        ({"document": PROMPT | {"n": 2}, "label": "pos"}, None),
    ],
)
def test_it_is_said_why_a_request_cannot_be_compared(asked: dict[str, Any], reason: str | None) -> None:
    selection = selected(upstreams(int8=1.0), **asked)
    assert selection.reasons == {"int8": reason}
    assert len(selection.samples) == (reason is None)


def test_a_sample_names_its_client_by_a_hash_of_the_key_and_the_name() -> None:
    keyed = HashKeys(client=b"secret", request=b"secret")
    clients = [
        only(selected(upstreams(keyed, int8=1.0), key=key, client=client)).client
        for key, client in ((None, "ann"), ("client", "ann"), ("client", None), ("clerk", None), (None, None))
    ]
    assert clients[-1] is None
    assert len(set(clients)) == 5
    assert all(each is None or len(each) == 16 for each in clients)
    one = only(selected(upstreams(keyed, int8=1.0), request_id="one"))
    assert one.id != only(selected(upstreams(keyed, int8=1.0), request_id="other")).id
    assert len(one.id) == 16


@pytest.mark.parametrize(("key", "trusted"), [(None, False), ("clerk", True), ("client", False), ("reader", False)])
def test_only_a_right_that_the_operator_gave_makes_labels_trusted(key: str | None, trusted: bool) -> None:
    assert only(selected(upstreams(int8=1.0), key=key)).trusted is trusted


@pytest.mark.parametrize(
    ("headers", "segment", "task"),
    [
        ({"x-language": "de", "x-understudy-task": "sst2"}, "de", "sst2"),
        ({"x-language": "fr", "x-understudy-task": "unknown"}, "other", None),
        ({}, "other", None),
    ],
)
def test_segments_and_tasks_are_only_those_that_are_declared(
    headers: dict[str, str], segment: str, task: str | None
) -> None:
    each = only(selected(upstreams(int8=1.0), headers=headers))
    assert (each.segments, each.task) == ({"language": segment}, task)


def test_an_adapter_is_compared_by_labels_only() -> None:
    assert selected(upstreams(adapter=1.0)).reasons == {"adapter": "adapter without label"}
    assert sampled_for(upstreams(adapter=1.0), label="pos") == ["adapter"]
    streamed = selected(upstreams(adapter=1.0), label="pos", document=PROMPT | {"stream": True})
    assert streamed.reasons == {"adapter": "stream with label"}


def test_a_request_that_one_of_the_pair_cannot_answer_is_not_sampled() -> None:
    assert sampled_for(upstreams(int8=1.0), needs=Needs({"tools": "tools"})) == []  # int8 has no tools
    assert sampled_for(upstreams(int8=1.0), needs=Needs({"vision": "messages"})) == []
    assert sampled_for(upstreams(int8=1.0), needs=Needs({"logprobs": "logprobs"})) == ["int8"]
