"""The loop that every method trains by."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Self

import pytest
import torch

from variants.errors import RecipeError
from variants.methods import training
from variants.progress import NoProgress


def test_each_loss_is_of_the_weights_that_the_step_before_left() -> None:
    weight = torch.nn.Parameter(torch.tensor(4.0))
    seen: list[tuple[float, float]] = []

    def losses() -> Iterator[torch.Tensor]:
        for _ in range(20):
            before = weight.item()
            yield weight**2
            seen.append((before, weight.item()))

    training.descend(training.one_cycle([weight], 0.1, 20, rise=0.2), losses(), NoProgress())
    assert len(seen) == 20
    assert all(later[0] == earlier[1] for earlier, later in pairwise(seen))
    assert all(after < before for before, after in seen)


def test_a_group_with_its_own_rate_keeps_it() -> None:
    slow, fast = (torch.nn.Parameter(torch.tensor(4.0)) for _ in range(2))
    groups = [{"params": [slow], "lr": 0.01}, {"params": [fast], "lr": 0.1}]
    losses = (slow**2 + fast**2 for _ in range(10))
    training.descend(training.cosine(groups, 0.01, 10), losses, NoProgress(), most=1.0)
    assert fast < slow < 4


def test_gradients_are_cut_together() -> None:
    weights = [torch.nn.Parameter(torch.tensor(value)) for value in (30.0, 40.0)]
    losses = (0.5 * (weights[0] ** 2 + weights[1] ** 2) for _ in range(1))
    training.descend(training.cosine(weights, 0.0, 1), losses, NoProgress(), most=1.0)
    assert [round(float(weight.grad), 4) for weight in weights if weight.grad is not None] == [0.6, 0.8]


@pytest.mark.parametrize(("steps", "rise"), [(5, 0.2), (10, 0.1)])
def test_steps_that_a_rate_cannot_rise_and_fall_in_are_refused(steps: int, rise: float) -> None:
    weight = torch.nn.Parameter(torch.tensor(4.0))
    with pytest.raises(RecipeError, match=f"{steps} steps .*one step more or fewer"):
        training.one_cycle([weight], 0.1, steps, rise=rise)
    for fine in (steps - 1, steps + 1):
        losses = (weight**2 for _ in range(fine))
        training.descend(training.one_cycle([weight], 0.1, fine, rise=rise), losses, NoProgress())


def test_a_training_that_diverges_gives_no_result() -> None:
    weight = torch.nn.Parameter(torch.tensor(4.0))
    losses = (weight * value for value in (1.0, float("nan"), 1.0))
    with pytest.raises(RecipeError, match="diverged at step 1"):
        training.descend(training.cosine([weight], 0.1, 3), losses, NoProgress())


def test_weights_that_the_last_step_broke_are_no_result() -> None:
    weight = torch.nn.Parameter(torch.tensor(4.0))
    losses = (weight * 0 + torch.sqrt(weight - 4.0) for _ in range(1))  # its slope there is infinite
    with pytest.raises(RecipeError, match="diverged at its last step"):
        training.descend(training.cosine([weight], 0.1, 1), losses, NoProgress())


def test_rows_are_padded_behind_and_the_mask_says_where() -> None:
    ids, real = training.padded([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert real.tolist() == [[True, True, True], [True, False, False]]
    assert (ids.dtype, real.dtype) == (torch.int64, torch.bool)


def test_every_position_comes_at_most_once_an_epoch() -> None:
    batches = list(training.full_batches(10, 4, 5, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [4] * 5
    epochs = [torch.cat(batches[start : start + 2]).tolist() for start in (0, 2)]
    assert all(len(set(epoch)) == 8 and set(epoch) <= set(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_teacher_that_agrees_adds_nothing_to_half_of_the_loss() -> None:
    logits, other = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, -1.0]])
    loss = torch.tensor(3.0)
    assert training.distillation_loss(loss, logits, logits).item() == pytest.approx(1.5)
    # The divergence of softmax(0, 1, -0.5) from softmax(1, 0, -0.5), by hand, times temperature squared, halved.
    weights = [torch.tensor(values).exp() for values in ([0.0, 1.0, -0.5], [1.0, 0.0, -0.5])]
    wanted, predicted = (weight / weight.sum() for weight in weights)
    divergence = float((wanted * (wanted / predicted).log()).sum())
    assert training.distillation_loss(loss, logits, other).item() == pytest.approx(1.5 + 2 * divergence)


def test_too_few_images_for_a_batch_are_refused_by_their_field() -> None:
    training.check_batch(8, 8)
    with pytest.raises(RecipeError, match="7 images do not fill a batch of 8") as refused:
        training.check_batch(7, 8, "recipe.examples")
    assert refused.value.field == "recipe.examples"


class Moved(torch.nn.Module):
    """A model that only notes where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def to(self, *place: Any, **more: Any) -> Self:
        self.places += place
        return self


def test_models_train_on_the_gpu_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, teacher = Moved(), Moved()
    monkeypatch.setattr(training, "device", lambda: "cuda")
    with training.on_device(model, teacher, None) as here:
        assert here == "cuda"
        assert model.places == teacher.places == ["cuda"]
    assert model.places == teacher.places == ["cuda", "cpu"]


def test_without_a_gpu_no_model_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Moved()
    monkeypatch.setattr(training, "device", lambda: "cpu")
    with training.on_device(model) as here:
        assert here == "cpu"
    assert model.places == []
