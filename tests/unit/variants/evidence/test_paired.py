import numpy as np
import pytest

from variants.evidence.paired import Paired

RIGHT, LOSS = (1.0, 1.0), (0.0, 1.0)


def add(paired: Paired, values: tuple[float, float], times: int = 1, repeated: bool = False,
        shuffled: float | None = None, delta: float | None = None) -> None:  # fmt: skip
    for _ in range(times):
        paired.add(values, repeated, delta, {}, shuffled)


def test_every_request_counts_by_request_and_once_as_distinct() -> None:
    paired = Paired()
    add(paired, LOSS)
    add(paired, LOSS, 9, repeated=True)
    add(paired, RIGHT, 10)
    assert paired.n == 20
    assert paired.differences().mean == pytest.approx(-0.5)
    assert paired.differences(distinct=True).mean == pytest.approx(-1 / 11)


def test_the_floor_multiplies_the_parents_value() -> None:
    paired = Paired()
    add(paired, (0.5, 1.0))
    add(paired, (1.0, 0.25))
    assert paired.differences(factor=0.8).counts == {-0.3: 1, 0.8: 1}


def test_scores_of_any_fineness_take_a_bounded_number_of_counts_and_keep_the_mean() -> None:
    rng = np.random.default_rng(4)
    paired, means = Paired(), []
    for variant, parent in rng.random((20_000, 2)).tolist():
        paired.add((variant, parent), False, 0.02, {}, 0.5)
        means.append((variant - parent, variant - 0.9 * parent))
    plain, floor = np.mean(means, axis=0)
    assert len(paired.differences().counts) <= 2001
    assert len(paired.differences(factor=0.9).counts) <= 20_001
    assert paired.differences().mean == pytest.approx(plain, abs=2e-5)
    assert paired.differences(factor=0.9).mean == pytest.approx(floor, abs=2e-5)


def test_a_small_difference_of_fine_scores_is_not_rounded_away() -> None:
    paired = Paired()
    add(paired, (0.501, 0.504), 10)
    assert paired.differences().mean == pytest.approx(-0.003)


def test_values_at_the_bounds_stay_within_them() -> None:
    paired = Paired()
    for values in ((0.0, 1.0), (1.0, 0.0), (0.0006, 0.9996), (0.9999, 0.00499), (1.0, 0.995)):
        add(paired, values, shuffled=values[1])
    for factor in (0.001, 0.5, 0.98, 1.0):
        assert paired.differences(factor=factor).n == 5
    assert paired.relative(0.02, 0.73).n == 5


def test_the_contrast_is_the_parents_score_minus_that_by_another_label() -> None:
    paired = Paired()
    for values, shuffled in (((1.0, 1.0), 0.0), ((0.0, 1.0), 1.0), ((1.0, 0.0), 1.0), ((1.0, 1.0), None)):
        add(paired, values, shuffled=shuffled)
    assert paired.contrast().counts == {1.0: 1, 0.0: 1, -1.0: 1}


def test_junk_among_the_labels_shrinks_difference_and_contrast_alike() -> None:
    """Labels of which a share q fits no answer."""
    kept = []
    for q in (0.0, 0.5):
        paired, n = Paired(), 1000
        honest = round(n * (1 - q))
        add(paired, LOSS, honest // 10, shuffled=0.0)
        add(paired, RIGHT, honest - honest // 10, shuffled=0.0)
        add(paired, (0.0, 0.0), n - honest, shuffled=0.0)
        kept.append((paired.differences().mean, paired.contrast().mean, paired.relative(0.2, 1.0).mean))
    assert kept[1] == pytest.approx(tuple(each / 2 for each in kept[0]))
    assert kept[0][2] == pytest.approx(-0.1 + 0.2)


@pytest.mark.parametrize(("delta", "on_card", "worst"), [(0.02, 0.5, -1.0), (0.6, 0.2, -3.0)])
def test_lost_requests_are_at_worst_relative_to_the_contrast_too(delta: float, on_card: float, worst: float) -> None:
    """No values and no other label give less."""
    paired = Paired(lost=3)
    corners = (0.0, 1.0)
    least = min(v - p + delta / on_card * (p - s) for v in corners for p in corners for s in corners)
    assert min(paired.relative(delta, on_card).counts) == pytest.approx(worst) == pytest.approx(least)


def test_each_segment_has_its_differences() -> None:
    paired = Paired()
    paired.add(LOSS, False, None, {"language": "de", "task": "a"})
    paired.add(RIGHT, True, None, {"language": "en", "task": "a"})
    assert paired.segments == {
        "language=de": {-1.0: 1}, "task=a": {-1.0: 1, 0.0: 1}, "language=en": {0.0: 1}
    }  # fmt: skip


def test_harm_is_a_mean_loss_above_delta() -> None:
    for loss, harm in ((0.02, False), (0.3, True)):
        paired, rng = Paired(), np.random.default_rng(7)
        for lost in (rng.random(400) < loss).tolist():
            add(paired, LOSS if lost else RIGHT, delta=0.05)
        assert paired.harm.has_raised(0.01) is harm
    silent = Paired()
    add(silent, LOSS, 50)
    assert silent.harm.n == 0
