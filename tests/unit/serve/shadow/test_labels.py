"""Labels of other requests."""

from serve.shadow.labels import KEPT, RecentLabels


def test_a_label_is_drawn_from_other_requests_only() -> None:
    labels = RecentLabels()
    labels.add("m", "sst2", "one", "pos")
    assert labels.draw("m", "sst2", "one") is None
    assert labels.draw("m", "sst2", "other") == "pos"
    assert labels.draw("m", None, "other") is None
    assert labels.draw("other", "sst2", "other") is None


def test_equal_labels_stay_among_the_others() -> None:
    labels = RecentLabels()
    for number in range(8):
        labels.add("m", None, str(number), "pos" if number else "neg")
    assert {labels.draw("m", None, "1") for _ in range(200)} == {"pos", "neg"}


def test_only_the_last_requests_are_kept_each_once() -> None:
    labels = RecentLabels()
    labels.add("m", None, "first", "old")
    for number in range(KEPT):
        for _ in range(3):
            labels.add("m", None, str(number), "new")
    assert {labels.draw("m", None, "") for _ in range(500)} == {"new"}
    assert len(labels.recent["m", None]) == KEPT
