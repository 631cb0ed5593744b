"""Perplexity in memory, which layers go together, and which of them rounding hurts most."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.recipes import parse_recipe
from variants.errors import RecipeError
from variants.methods.text_generation.loss import (
    Passages,
    Rounding,
    fused_name,
    hold,
    perplexity,
    ranked,
    rounded,
    units,
)
from variants.recipes.recipe import Quantize

TEXTS = Passages("own", [[1, 2, 3], [3, 0, 1, 2, 3, 1], [2, 2]])


class Chain(nn.Module):
    """Two linear layers after an embedding; the logits of four tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.up_proj, self.down_proj = nn.Embedding(4, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.down_proj(self.up_proj(self.table(input_ids))))


def test_perplexity_is_that_of_each_text_alone() -> None:
    model: Any = Chain()
    nats, tokens = 0.0, 0
    for row in TEXTS.ids:
        ids = torch.tensor([row])
        logs = model(ids).logits[0].log_softmax(-1)
        nats -= sum(logs[place, token].item() for place, token in enumerate(row[1:]))
        tokens += len(row) - 1
    assert perplexity(model, TEXTS) == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    with torch.no_grad():
        model.down_proj.weight.zero_()
        model.down_proj.bias.zero_()
    assert perplexity(model, TEXTS) == pytest.approx(4)  # all tokens are equally likely


def test_long_texts_are_not_padded_to_one_batch() -> None:
    batches = list(Passages("own", [[1] * 400] * 3 + [[2] * 10]).batches())
    assert [tuple(ids.shape) for ids, _ in batches] == [(2, 400), (2, 400)]
    assert sum(int(mask.sum()) for _, mask in batches) == 3 * 400 + 10


def test_what_vllm_multiplies_as_one_matrix_goes_together() -> None:
    names = ["a.q_proj", "a.k_proj", "a.v_proj", "a.o_proj", "b.gate_proj", "b.up_proj", "b.down_proj", "c.q_proj"]
    assert units(names) == [
        ("a.q_proj", "a.k_proj", "a.v_proj"),
        ("a.o_proj",),
        ("b.gate_proj", "b.up_proj"),
        ("b.down_proj",),
        ("c.q_proj",),
    ]
    assert [fused_name(name) for name in ("a.k_proj", "b.up_proj", "b.down_proj")] == [
        "a.qkv_proj",
        "b.gate_up_proj",
        None,
    ]


def test_rounding_has_a_scale_a_row_or_a_group() -> None:
    values = torch.tensor([[1.0, 0.6, 100.0, 60.0]])
    assert rounded(values, 8).tolist() == [
        [pytest.approx(100 / 127), pytest.approx(100 / 127), 100.0, pytest.approx(7600 / 127)]
    ]
    assert rounded(values, 4, 2)[0].tolist() == pytest.approx([1, 4 / 7, 100, 400 / 7])


def test_the_layer_that_rounding_moves_most_comes_first() -> None:
    model: Any = Chain()
    with torch.no_grad():
        model.down_proj.weight[:, 0] = 1000
        model.up_proj.weight[0], model.up_proj.bias[0] = 0, 0
    roundings = {name: Rounding(getattr(model, name), 8, None, 8) for name in ("up_proj", "down_proj")}
    assert ranked(model, roundings, TEXTS) == [("down_proj",), ("up_proj",)]


def test_more_and_more_layers_are_kept_until_the_limit_holds() -> None:
    model: Any = Chain()
    names = [f"l{count}.o_proj" for count in range(12)]
    roundings = {name: Rounding(model.up_proj, 8) for name in names}
    recipe = parse_recipe(
        {"kind": "quantize", "scheme": "w8a8", "keep": "auto", "calibration": {"task": "r8", "examples": 8}}
    )
    assert isinstance(recipe, Quantize)
    before = perplexity(model, TEXTS)
    asked: list[int] = []

    def build(kept: Any) -> float:
        asked.append(len(kept))
        return before * (1.6 if not kept else 1.2 if len(kept) < enough else 1.01)

    enough = 4
    loss, kept = hold(recipe, model, roundings, TEXTS, build)
    assert asked == [0, 1, 2, 4]
    assert kept is not None
    assert (len(kept.layers), kept.variant / before, kept.weights_share) == (
        4,
        pytest.approx(1.6),
        pytest.approx(1 / 3),
    )
    assert loss.lost == pytest.approx(0.01)
    enough = 100
    with pytest.raises(RecipeError, match=r"grows by 60\.0%, and with 8 of 12 layers in 16 bits by 20\.0%; 5\.0% is"):
        hold(recipe, model, roundings, TEXTS, build)
    enough = 0
    asked.clear()
    loss, kept = hold(recipe, model, roundings, TEXTS, lambda kept: before)
    assert (loss.lost, kept) == (0, None)
