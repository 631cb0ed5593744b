"""A slice of `make bench-hostile` on a real server: that hostile clients are refused, and the others go on."""

import asyncio
from pathlib import Path

import pytest

from loadtest.benchmarks.hostile import ATTACKS, PLACES, VARIANT, Plan, run, table
from loadtest.benchmarks.leaving import measure_leaving
from tests.support.processes import server

pytestmark = pytest.mark.integration
SLICE = Plan(streams=2, bombs=3, idle=300, bodies=40, quiet_s=1.0, leaving=5)
PAUSE_LIMIT_S = 10.0
"""Generous, because tests run beside others: before bodies were bounded, one bomb took 5 s of a free core."""


def test_hostile_clients_are_refused_and_streams_go_on(tmp_path: Path) -> None:
    with server(tmp_path, "tests.support.serve_scripted", "{port}", "token_s=0.02") as (url, pid):
        attacks = {attack.name: attack for attack in run(url, pid, SLICE)}
        leaving = asyncio.run(measure_leaving(url, VARIANT, PLACES, SLICE.leaving))
    assert list(attacks) == ["quiet before", *ATTACKS, "quiet after"]
    assert attacks["gzip bomb"].answers == {"400": 3}
    assert attacks["idle sockets"].answers == {"408": 300}
    bodies = attacks["large bodies"].answers
    assert sum(bodies.values()) == 40
    assert set(bodies) <= {"400", "429"}  # 32 MiB of text are above limits.characters
    assert bodies["429"] > 0
    assert attacks["many answers"].answers == {"400": 1}
    assert attacks["large images"].answers == {"400": 1}
    for attack in attacks.values():
        assert attack.tokens > 0, attack
        assert attack.longest_pause_s < PAUSE_LIMIT_S, attack
        assert 0 < attack.ingress_mib < 1024, attack
    assert leaving.n == 5
    assert 0 <= leaving.median_s <= leaving.longest_s < PAUSE_LIMIT_S
    assert leaving.alone_s > 0
    lines = table(attacks.values(), SLICE).splitlines()
    assert len(lines) == len(attacks) + 3
