import numpy as np
import pytest

from variants.evidence.labels import labels_missing
from variants.evidence.paired import Paired


def paired(*counts: tuple[float, float, float, int]) -> Paired:
    """(variant's, parent's, parent's by another label, times)."""
    labels = Paired()
    for variant, parent, shuffled, times in counts:
        for _ in range(times):
            labels.add((variant, parent), False, None, {}, shuffled)
    return labels


HONEST = paired((1.0, 1.0, 0.0, 900), (0.0, 0.0, 1.0, 100))
JUNK = paired((0.0, 0.0, 0.0, 900), (1.0, 1.0, 1.0, 100))


def test_labels_that_tell_right_from_wrong_allow_a_verdict() -> None:
    assert labels_missing(HONEST, 0.02, 0.8, 0.05) == []


def test_labels_that_fit_every_answer_or_none_tell_nothing() -> None:
    (why,) = labels_missing(JUNK, 0.02, 0.8, 0.05)
    assert why.startswith("inconclusive: these labels do not tell right from wrong")
    assert "n 1000" in why


def test_labels_that_fit_other_requests_better_tell_nothing() -> None:
    turned = paired((0.0, 0.0, 1.0, 1000))
    assert "do not tell right from wrong" in labels_missing(turned, None, None, 0.05)[0]


def test_no_contrast_is_no_proof() -> None:
    labels = Paired()
    labels.add((1.0, 1.0), False, None, {})
    assert "no request yet" in labels_missing(labels, 0.02, 0.8, 0.05)[0]


@pytest.mark.parametrize(("on_card", "holds"), [(0.8, True), (0.3, True), (None, False)])
def test_without_a_card_the_margin_only_becomes_stricter(on_card: float | None, holds: bool) -> None:
    """A loss of 1.2 points at a limit of 2, and a contrast of 0.4 live."""
    labels = paired((0.0, 1.0, 0.0, 240), (1.0, 1.0, 0.0, 7760), (1.0, 1.0, 1.0, 12_000))
    assert (labels_missing(labels, 0.02, 0.4 if on_card == 0.8 else on_card, 0.05) == []) is holds


def test_half_of_the_contrast_on_the_card_halves_the_margin() -> None:
    """A loss of 1.5 points at a limit of 2: held, unless half of the labels are junk."""
    labels = paired((0.0, 1.0, 0.0, 300), (1.0, 1.0, 0.0, 9700), (0.0, 0.0, 0.0, 10_000))
    assert labels_missing(labels, 0.02, 0.5, 0.05) == []
    (why,) = labels_missing(labels, 0.02, 1.0, 0.05)
    assert "0.500 live, 1.000 on its card" in why


@pytest.mark.parametrize("delta", [None, 0.0])
def test_without_a_margin_only_the_contrast_is_held(delta: float | None) -> None:
    worse = paired((0.0, 1.0, 0.0, 1000))
    assert labels_missing(worse, delta, 0.8, 0.05) == []


def test_junk_passes_as_labels_with_probability_alpha_at_most() -> None:
    """The parent is right by its own label as often as by another's. 0.05 of 100 runs: 12 have probability 0.002."""
    rng = np.random.default_rng(10)
    passed = 0
    for _ in range(100):
        labels, ever = Paired(), False
        for _ in range(15):
            own, other = (rng.random((2, 40)) < 0.5).astype(float).tolist()
            for parent, shuffled in zip(own, other, strict=True):
                labels.add((parent, parent), False, None, {}, shuffled)
            ever = ever or not labels_missing(labels, None, None, 0.05)
        passed += ever
    assert passed < 12
