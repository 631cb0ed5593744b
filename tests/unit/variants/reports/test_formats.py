"""Figures as text, and the cells that show them."""

import pytest

from variants.evidence.intervals import Interval
from variants.reports import formats
from variants.reports.table import Column, as_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0042, "4.2 ms"),
        (0.042, "42 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (12.3, "12.3 s"),
        (185.2, "185 s"),
    ],
)
def test_seconds(value: float, expected: str) -> None:
    assert formats.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1234.5, "1,234"), (172.4, "172"), (61.04, "61.0"), (2.671, "2.67"), (0.82, "0.820"), (0.0, "0.000")],
)
def test_numbers(value: float, expected: str) -> None:
    assert formats.number(value) == expected


def test_points_have_a_sign_and_no_minus_nought() -> None:
    assert [formats.points(value) for value in (0.015, -0.105, 0.0, -0.0001)] == ["+1.5", "−10.5", "0.0", "0.0"]


@pytest.mark.parametrize(
    ("how", "unit", "interval", "expected"),
    [
        ("measure", "share", Interval(0.79, 0.728, 0.841), "79.0 % (72.8 to 84.1)"),
        ("measure", "", Interval(28.6, 27, 30), "28.6 (27.0 to 30.0)"),
        ("between", "", Interval(0.79, 0.728, 0.841), "79.0 % (72.8 to 84.1)"),
        ("difference", "share", Interval(-0.004, -0.011, 0.003), "−0.4 (−1.1 to +0.3)"),
        ("difference", "", Interval(0.98, -0.004, 1.2), "+0.980 (−0.004 to +1.20)"),
        ("ratio", "", Interval(2.11, 2.06, 2.16), "2.11 (2.06 to 2.16)"),
    ],
)
def test_intervals(how: str, unit: str, interval: Interval, expected: str) -> None:
    assert as_text(interval, how, unit) == expected


@pytest.mark.parametrize("how", ["seconds", "number", "size", "share", "measure", "difference", "text"])
def test_what_was_not_measured_is_a_dash(how: str) -> None:
    assert as_text(None, how) == "–"


@pytest.mark.parametrize(("failed", "text", "alarm"), [(0, "0", False), (1234, "1,234", True), (None, "–", False)])
def test_failures_are_an_alarm(failed: int | None, text: str, alarm: bool) -> None:
    column, document = Column("failed", "/mixed/failed", "count", alarm="/mixed/failed"), {"mixed": {"failed": failed}}
    assert (column.text(document), column.is_alarm(document)) == (text, alarm)
