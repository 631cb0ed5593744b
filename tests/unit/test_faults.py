"""The planted faults of `make test-faults` still have a place to be planted in."""

import pytest

from tests.faults import FAULTS, ROOT, TESTS, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault.file} {number}" for number, fault in enumerate(FAULTS)])
def test_the_text_that_a_fault_replaces_occurs_once(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text().count(fault.right) == 1, fault.right


def test_the_tests_of_each_file_are_there() -> None:
    assert [name for names in TESTS.values() for name in names if not (ROOT / name).is_file()] == []
    assert {fault.file for fault in FAULTS} <= TESTS.keys()
