"""Rows of the gate's simulation whose truth a small number of runs shows."""

import numpy as np

from loadtest.benchmarks.gate.rows import chosen_names
from loadtest.benchmarks.gate.traffic import shares


def test_clients_that_fail_everywhere_return_a_sound_variant_unless_the_other_arm_is_asked() -> None:
    without, with_it = (
        shares(*chosen_names(asked)(np.random.default_rng(7), 100))["rolled_back_share"] for asked in (False, True)
    )
    assert without > 0.15
    assert with_it <= 0.05
