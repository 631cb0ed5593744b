"""What is required on real data: kept by name, read as it was written, met up to the limit."""

from pathlib import Path

import pytest

from serve.study.requirement import FOLDER, keep, kept
from tests.study import required
from variants.errors import InputError


def test_the_latest_of_each_name_is_kept(tmp_path: Path) -> None:
    assert kept(tmp_path) == ()
    for value in (0.03, 0.01):
        keep(required("detector", value), tmp_path)
    keep(required("classifier", 0.5), tmp_path)
    assert [(each.name, each.value) for each in kept(tmp_path)] == [("classifier", 0.5), ("detector", 0.01)]


@pytest.mark.parametrize(
    ("sense", "value", "misses_by"),
    [
        ("at most", 0.02, 0),
        ("at most", 0.05, 0.03),
        ("at most", -1, 0),
        ("at least", 0.02, 0),
        ("at least", 0.01, 0.01),
    ],
)
def test_a_limit_is_met_up_to_itself(sense: str, value: float, misses_by: float) -> None:
    found = required("detector", value, sense=sense)
    assert found.met == (misses_by == 0)
    assert found.misses_by == pytest.approx(misses_by)


def test_a_file_changed_by_hand_is_named(tmp_path: Path) -> None:
    keep(required("detector", 0.01), tmp_path)
    file = tmp_path / FOLDER / "detector.json"
    file.write_text(file.read_text().replace('"value": 0.01', '"value": "much"'))
    with pytest.raises(InputError, match=r"detector\.json is not a valid Requirement"):
        kept(tmp_path)
