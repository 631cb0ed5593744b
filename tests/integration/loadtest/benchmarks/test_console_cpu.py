"""A slice of `make bench-console` on a real server: what is counted, and in which rounds pages are open."""

import math

import pytest

from loadtest.benchmarks.console.cpu import ROLES, Plan, measure, sentence
from tests.integration.conftest import Served

pytestmark = pytest.mark.integration
SLICE = Plan(pairs=2, seconds=2.0, streams=2, pages=4)


def test_rounds_with_open_pages_and_without_take_turns(served: Served) -> None:
    figures = measure(served.url, served.pid, SLICE)
    assert len(figures["pairs"]) == SLICE.pairs
    for pair in figures["pairs"]:
        assert (pair["without"]["pages_read"], pair["with"]["pages_read"] > 0) == (0, True)
        for each in (pair["without"], pair["with"]):
            assert each["tokens"] > 0
            assert set(each["cpu_s"]) == set(ROLES)
            assert each["cpu_s"]["the ingress"] > 0
        assert pair["ratio"] > 0
    ratio, added = figures["ratio"], figures["one_page_adds"]
    assert ratio["low"] < ratio["value"] < ratio["high"]
    assert math.isclose(added["value"], (ratio["value"] - 1) / SLICE.pages, abs_tol=1e-4)
    assert sentence(figures).startswith("CPU time with 4 open pages over none: ")
