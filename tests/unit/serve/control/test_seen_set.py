import pytest

from serve.control.seen_set import SeenSet


def test_a_name_is_new_once() -> None:
    known = SeenSet()
    assert known.add("a")
    assert not known.add("a")
    assert "a" in known
    assert "b" not in known
    known.add("\ud800")  # what JSON may carry


def test_the_latest_names_are_kept_and_the_oldest_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.control.seen_set.LEAST", 3)
    known = SeenSet()
    for number in range(20):
        assert known.add(str(number))
        kept = [name for name in map(str, range(20)) if name in known]
        assert kept[-3:] == [str(each) for each in range(max(0, number - 2), number + 1)]
        assert len(kept) <= 6
