import numpy as np
import pytest
from scipy.stats import binomtest

from loadtest.benchmarks.gate.fixed_sample import pairs_to_promote, pairs_to_roll_back, power_of


@pytest.mark.parametrize(("null", "true"), [(0.5, 0.75), (0.6, 0.8)])
def test_power_is_what_drawing_says(null: float, true: float) -> None:
    n, discordance, alpha = 400, 0.1, 0.05
    random = np.random.default_rng(0)
    discordant = random.binomial(n, discordance, 4000)
    worse = random.binomial(discordant, true)
    rejected = [binomtest(w, d, null, "greater").pvalue <= alpha for w, d in zip(worse, discordant, strict=True) if d]
    assert power_of(n, null, true, discordance, alpha) == pytest.approx(np.mean(rejected), abs=0.03)


def test_near_the_usual_approximation() -> None:
    """Lachin 1992: n = (z_a sqrt(c) + z_b sqrt(c - d^2))^2 / d^2 = 245 for c 0.1, d 0.05; the exact test needs more."""
    assert 245 <= pairs_to_roll_back(-0.05, 0.10, 0.0, 0.05) <= 290


def test_a_margin_makes_it_harder_to_roll_back_and_possible_to_promote() -> None:
    assert pairs_to_roll_back(-0.05, 0.1, 0.02, 0.05) > 2 * pairs_to_roll_back(-0.05, 0.1, 0.0, 0.05)
    assert 1000 < pairs_to_promote(0.0, 0.1, 0.02, 0.05) < 2500


def test_refuses_the_wrong_side() -> None:
    with pytest.raises(ValueError, match="other side"):
        pairs_to_roll_back(-0.01, 0.1, 0.02, 0.05)
    with pytest.raises(ValueError, match="other side"):
        pairs_to_promote(-0.03, 0.1, 0.02, 0.05)
    with pytest.raises(ValueError, match="discordance"):
        pairs_to_roll_back(-0.2, 0.1, 0.0, 0.05)
