"""Assignments: weights, sticky clients, fewest moves, pins and fallbacks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.dataplane.router import Target, assign, preference
from variants.errors import UnknownName

BOTH = {"baseline", "int8"}
MODEL = Target("smollm2")


def place(client: str | None, weights: dict[str, float], ready: set[str] = BOTH) -> str:
    assignment = assign(MODEL, weights, ready, client)
    assert assignment is not None
    return assignment.variant


@pytest.mark.parametrize("sticky", [True, False])
def test_ten_thousand_assignments_follow_the_weights(sticky: bool) -> None:
    count = 10_000
    weights = {"baseline": 90.0, "int8": 10.0}
    hits = sum(place(f"client-{i}" if sticky else None, weights) == "int8" for i in range(count))
    assert abs(hits / count - 0.1) < 3 * math.sqrt(0.1 * 0.9 / count)


def test_one_client_always_gets_one_variant() -> None:
    weights = {"baseline": 50.0, "int8": 50.0}
    for i in range(50):
        assert len({place(f"client-{i}", weights) for _ in range(20)}) == 1


def test_a_changed_weight_moves_only_necessary_clients() -> None:
    before, after = {"baseline": 90.0, "int8": 10.0}, {"baseline": 80.0, "int8": 20.0}
    clients = [f"client-{i}" for i in range(10_000)]
    moves = [(place(client, before), place(client, after)) for client in clients]
    assert ("int8", "baseline") not in moves
    moved = sum(old != new for old, new in moves) / len(clients)
    assert abs(moved - 0.1) < 3 * math.sqrt(0.1 * 0.9 / len(clients))


def test_a_clients_variant_is_independent_between_models() -> None:
    weights = {"baseline": 50.0, "int8": 50.0}
    places = [{assign(Target(model), weights, BOTH, f"client-{i}").variant for model in ("a", "b")} for i in range(200)]
    assert 60 < sum(len(place) == 2 for place in places) < 140


def test_reasons() -> None:
    weights = {"baseline": 100.0, "int8": 0.0}
    assert assign(MODEL, weights, BOTH).reason == "weight"
    assert assign(MODEL, weights, BOTH, "ann").reason == "sticky"
    pinned = assign(Target.parse("smollm2@int8"), weights, BOTH, "ann")
    assert pinned is not None
    assert (pinned.variant, pinned.reason) == ("int8", "pinned")


def test_fallback_uses_only_variants_with_weight() -> None:
    weights = {"baseline": 90.0, "int8": 10.0, "nf4": 0.0}
    fallback = assign(MODEL, weights, {"int8", "nf4"}, next(c for c in "abcdefgh" if place(c, weights) == "baseline"))
    assert fallback is not None
    assert (fallback.variant, fallback.reason) == ("int8", "fallback")
    assert assign(MODEL, weights, {"nf4"}) is None
    assert assign(Target.parse("smollm2@baseline"), weights, {"int8"}) is None


def test_a_client_that_the_operator_pinned_stays_as_long_as_that_variant_is_ready() -> None:
    weights = {"baseline": 100.0, "int8": 0.0}
    pinned = assign(MODEL, weights, BOTH, "ann", pin="int8")
    assert pinned is not None
    assert (pinned.variant, pinned.reason) == ("int8", "pinned")
    without = assign(MODEL, weights, {"baseline"}, "ann", pin="int8")
    assert without is not None
    assert (without.variant, without.reason) == ("baseline", "sticky")
    other = assign(Target.parse("smollm2@baseline"), weights, BOTH, "ann", pin="int8")
    assert other is not None
    assert other.variant == "baseline", "a variant that the request names has priority over the client's pin"


def test_a_pin_to_an_unknown_variant_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"has no variant 'int4'.*baseline, int8"):
        assign(Target.parse("smollm2@int4"), {"baseline": 1.0, "int8": 0.0}, BOTH)


def test_target_parses_builds() -> None:
    assert Target.parse("m@int8:1a2b") == Target("m", "int8", "1a2b")
    assert Target.parse("m") == Target("m")


@pytest.mark.parametrize(("name", "missing"), [("m@", "variant"), ("m@:1a2b", "variant"), ("m@int8:", "build")])
def test_a_separator_needs_a_name_after_it(name: str, missing: str) -> None:
    with pytest.raises(UnknownName, match=f"names no {missing}") as refused:
        Target.parse(name)
    assert refused.value.field == "model"


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e6), min_size=1), st.text(max_size=8))
def test_only_variants_with_weight_are_preferred(weights: dict[str, float], client: str) -> None:
    assert set(preference(client, weights)) == {name for name, weight in weights.items() if weight > 0}


@given(
    st.lists(st.floats(0.1, 100), min_size=2, max_size=5),
    st.floats(1.0, 10.0),
    st.text(max_size=8),
)
def test_raising_one_weight_only_ever_moves_clients_to_it(values: list[float], factor: float, client: str) -> None:
    weights = {str(i): value for i, value in enumerate(values)}
    raised = weights | {"0": weights["0"] * factor}
    old, new = preference(client, weights)[0], preference(client, raised)[0]
    assert new in (old, "0")


def test_a_request_that_excludes_a_variant_says_so_and_goes_to_the_next_in_the_clients_order() -> None:
    weights = {"baseline": 50.0, "int8": 40.0, "nf4": 10.0, "idle": 0.0}
    for client in [f"client-{number}" for number in range(50)]:
        order = preference(f"smollm2\0{client}", weights)
        able = [name for name in order if name != "int8"]
        chosen = assign(MODEL, weights, set(weights), client, unable=["int8"])
        assert chosen is not None
        assert (chosen.variant, chosen.reason) == (able[0], "capable")
        down = assign(MODEL, weights, set(weights) - {able[0]}, client, unable=["int8"])
        assert down is not None
        assert (down.variant, down.reason) == (able[1], "fallback")
    assert assign(MODEL, weights, {"int8"}, "ann", unable=["int8"]) is None


def test_a_variant_without_traffic_excludes_nothing() -> None:
    chosen = assign(MODEL, {"baseline": 1.0, "int8": 0.0}, BOTH, "ann", unable=["int8"])
    assert chosen is not None
    assert chosen.reason == "sticky"


def test_a_pin_to_a_variant_that_cannot_answer_does_not_apply() -> None:
    chosen = assign(MODEL, {"baseline": 1.0, "int8": 1.0}, BOTH, "ann", pin="int8", unable=["int8"])
    assert chosen is not None
    assert (chosen.variant, chosen.reason) == ("baseline", "capable")


def test_without_the_servers_key_nobody_can_choose_a_name_for_a_variant() -> None:
    weights = {"baseline": 50.0, "int8": 50.0}
    clients = [f"client-{number}" for number in range(400)]

    def places(key: bytes) -> list[str]:
        return [assign(MODEL, weights, BOTH, client, key=key).variant for client in clients]

    assert places(b"one") == places(b"one")
    assert 120 < sum(a == b for a, b in zip(places(b"one"), places(b"other"), strict=True)) < 280
    assert abs(places(b"one").count("int8") / len(clients) - 0.5) < 0.1
