"""The Pareto front: the variants that no other beats in both figures."""

import pytest

from variants.reports.pareto import Better, Point, front

POINTS = [Point(x, y, y - 1, y + 1, f"{x}, {y}", 0) for x, y in ((1.0, 50.0), (2.0, 70.0), (3.0, 60.0), (4.0, 90.0))]


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        (("higher", "higher"), [4.0]),
        (("lower", "higher"), [1.0, 2.0, 4.0]),
        (("lower", "lower"), [1.0]),
        (("higher", "lower"), [1.0, 3.0, 4.0]),
    ],
)
def test_the_front_follows_what_is_better(better: tuple[Better, Better], expected: list[float]) -> None:
    assert [point.x for point in front(POINTS, better)] == expected


def test_equal_points_are_both_in_the_front() -> None:
    assert front([POINTS[0], POINTS[0]], ("higher", "higher")) == [POINTS[0], POINTS[0]]
