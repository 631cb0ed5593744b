from collections import Counter
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variants.evidence.client_shares import COUNTERS, ClientShares


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), max_size=200), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_no_client_ever_has_more_than_its_share_rounded_up(clients: list[str | None], share: float) -> None:
    shares, admitted = ClientShares(), Counter[str]()
    for client in clients:
        if shares.admit(client, share) and client is not None:
            admitted[client] += 1
        assert all(n <= ceil(round(share * shares.n, 9)) for n in admitted.values())
    assert shares.n + shares.over == len(clients)
    assert shares.counts == admitted


def test_one_client_with_nine_tenths_has_a_tenth() -> None:
    shares = ClientShares()
    flood = sum(
        shares.admit("flood" if n % 10 else f"honest {n // 10 % 20}", 0.1) and n % 10 > 0 for n in range(10_000)
    )
    assert shares.n == pytest.approx(1000 / 0.9, rel=0.01)
    assert flood == pytest.approx(0.1 * shares.n, abs=1)


@pytest.mark.parametrize(("clients", "grows"), [(9, False), (10, True), (12, True), (19, True)])
def test_it_takes_as_many_clients_as_the_share_says_and_no_more(clients: int, grows: bool) -> None:
    shares = ClientShares()
    for number in range(5000):
        shares.admit(f"c{number % clients}", 0.1)
    assert (shares.n == clients) is not grows
    assert (shares.n > 4000) is grows


def test_whoever_has_no_name_is_not_bounded_and_gives_others_room() -> None:
    shares = ClientShares()
    assert all(shares.admit(None, 0.1) for _ in range(100))
    assert sum(shares.admit("one", 0.1) for _ in range(100)) == 12  # a tenth of 112, rounded up


def test_many_clients_take_constant_memory_and_nobody_gets_more() -> None:
    """3,000 clients push each other out of the counters. One that returns again and again is not forgotten."""
    rng = np.random.default_rng(5)
    shares, admitted = ClientShares(), Counter[str]()
    for number in range(30_000):
        client = "flood" if number % 2 else f"c{rng.integers(3000)}"
        admitted[client] += shares.admit(client, 0.01)
    assert len(shares.counts) == COUNTERS
    assert max(admitted.values()) == admitted["flood"] <= ceil(0.01 * shares.n)
    assert admitted["flood"] > 100


def test_a_client_that_pushes_another_out_is_counted_from_its_number_on() -> None:
    shares = ClientShares()
    for number in range(3 * COUNTERS):
        shares.count(f"c{number % COUNTERS}")
    shares.count("new")
    assert (shares.counts["new"], len(shares.counts)) == (4, COUNTERS)
