"""Which requests are sampled for comparison, and with which variants."""

from types import SimpleNamespace
from typing import Any

import pytest

from serve.config.capabilities import NOTHING, Capabilities, Needs
from serve.dataplane.call import Call
from serve.dataplane.router import Target
from serve.shadow.sampling import sample

PATH = "/v1/completions"
PROMPT = {"prompt": "is it"}


def upstreams(**shares: float) -> Any:
    """A model whose shadows compare these shares; `adapter` is an adapter."""
    of_model = {name: upstream(Capabilities(logprobs=True), name == "adapter") for name in shares}
    of_model["parent"] = upstream(Capabilities(tools=True, logprobs=True))
    variants = {name: SimpleNamespace(parent="parent") for name in shares}
    traffic = {"m": SimpleNamespace(traffic=SimpleNamespace(shadows=shares))}
    models = {"m": SimpleNamespace(variants=variants)}
    return SimpleNamespace(snapshot=SimpleNamespace(traffic=traffic), by_model={"m": of_model}, models=models)


def upstream(can: Capabilities, is_adapter: bool = False) -> Any:
    return SimpleNamespace(served=SimpleNamespace(adapter=is_adapter or None, capabilities=can))


def sampled_for(
    upstreams: Any,
    label: str | None = None,
    path: str = PATH,
    request_id: str = "r",
    needs: Needs = NOTHING,
    variant: str | None = None,
) -> list[str]:
    """The variants that one request is sampled for."""
    call = Call(Target("m", variant), None, lambda upstream: (path, b""), {}, False, request_id, needs=needs)
    return [each.variant for each in sample(upstreams, call, path, b"{}", label, PROMPT)]


def test_each_shadow_compares_its_share_by_the_requests_id() -> None:
    ids = [f"request {number}" for number in range(400)]
    sampled = [request_id for request_id in ids if sampled_for(upstreams(int8=0.25), request_id=request_id)]
    assert 60 < len(sampled) < 140
    assert {each for each in ids if sampled_for(upstreams(int8=0.5), request_id=each)} > set(sampled)
    assert sampled_for(upstreams(int8=1.0, nf4=1.0)) == ["int8", "nf4"]


@pytest.mark.parametrize(("variant", "path"), [("int8", PATH), (None, "/tokenize")])
def test_requests_that_name_a_variant_or_count_tokens_are_not_sampled(variant: str | None, path: str) -> None:
    assert sampled_for(upstreams(int8=1.0), path=path, variant=variant) == []


def test_an_adapter_is_compared_by_labels_only() -> None:
    assert sampled_for(upstreams(adapter=1.0)) == []
    assert sampled_for(upstreams(adapter=1.0), label="pos") == ["adapter"]


def test_a_request_that_one_of_the_pair_cannot_answer_is_not_sampled() -> None:
    assert sampled_for(upstreams(int8=1.0), needs=Needs({"tools": "tools"})) == []  # int8 has no tools
    assert sampled_for(upstreams(int8=1.0), needs=Needs({"vision": "messages"})) == []
    assert sampled_for(upstreams(int8=1.0), needs=Needs({"logprobs": "logprobs"})) == ["int8"]
