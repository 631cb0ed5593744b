"""What a loss says of its figures."""

import pytest

from variants.artifacts.loss import Kept, Loss, Measure


def loss(measure: Measure, parent: float, variant: float, kept: Kept | None = None) -> Loss:
    return Loss(measure=measure, task="own", examples=16, parent=parent, variant=variant, kept=kept)


@pytest.mark.parametrize(
    ("measure", "parent", "variant", "lost", "told"),
    [
        ("accuracy", 0.9, 0.7, 0.2, "it loses 20.0 points"),
        ("agreement", 1.0, 0.95, 0.05, "it loses 5.0 points"),
        ("accuracy", 0.9, 0.95, -0.05, "it loses nothing"),
        ("perplexity", 20.0, 40.0, 1.0, "its perplexity grows by 100.0%"),
        ("perplexity", 20.0, 15.0, -0.25, "it loses nothing"),
    ],
)
def test_a_loss_is_in_points_or_in_growth_of_perplexity(
    measure: Measure, parent: float, variant: float, lost: float, told: str
) -> None:
    given = loss(measure, parent, variant)
    assert given.lost == pytest.approx(lost)
    assert given.sentence().startswith(f"{told} on 16 calibration examples of own: ")


def test_likeness_is_measured_on_fixed_prompts() -> None:
    given = Loss(measure="likeness", task="fixed prompts", examples=3, parent=1.0, variant=0.981)
    assert given.sentence() == (
        "it loses 1.9 points on 3 fixed prompts: likeness to its parent's pictures 98.1 %, its parent 100.0 %"
    )


def test_kept_layers_are_named_with_what_they_save() -> None:
    kept = Kept(layers=("down", "up"), variant=0.386, weights_share=0.12)
    assert loss("accuracy", 0.882, 0.88, kept).sentence() == (
        "it loses 0.2 points on 16 calibration examples of own: accuracy 88.0 %, its parent 88.2 %; "
        "2 layers stay in 16 bits (12% of the weights), otherwise it loses 49.6 points: down, up"
    )
