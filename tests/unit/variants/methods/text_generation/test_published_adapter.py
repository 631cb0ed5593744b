"""Adapters of which a part is missing, by their tensors' shapes."""

from typing import Any

import pytest

from variants.errors import RecipeError, SourceError
from variants.methods.text_generation.published_adapter import PREFIX, Shape, check_layers

BASE: dict[str, Shape] = {
    "model.layers.0.self_attn.q_proj.weight": (16, 8),
    "model.layers.1.self_attn.q_proj.weight": (16, 8),
    "model.norm.weight": (8,),
}
CONFIG: dict[str, Any] = {"r": 4, "target_modules": ["q_proj"]}


def adapter(*layers: str) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for layer in layers:
        shapes |= {f"{PREFIX}{layer}.lora_A.weight": (4, 8), f"{PREFIX}{layer}.lora_B.weight": (16, 4)}
    return shapes


WHOLE = adapter("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj")


def test_an_adapter_of_all_its_layers_is_taken() -> None:
    assert check_layers(WHOLE, BASE, CONFIG) == ["q_proj"]


@pytest.mark.parametrize("missing", WHOLE)
def test_a_matrix_without_its_other_is_refused(missing: str) -> None:
    part = {name: shape for name, shape in WHOLE.items() if name != missing}
    with pytest.raises(SourceError, match=rf"without {missing.removeprefix(PREFIX)}"):
        check_layers(part, BASE, CONFIG)


def test_a_layer_that_its_configuration_names_is_not_left_out() -> None:
    part = adapter("model.layers.0.self_attn.q_proj")
    with pytest.raises(SourceError, match=r"has no weights for model\.layers\.1\.self_attn\.q_proj"):
        check_layers(part, BASE, CONFIG)
    assert check_layers(part, BASE, CONFIG | {"layers_to_transform": [0]}) == ["q_proj"]
    assert check_layers(part, BASE, CONFIG | {"target_modules": r".*\.0\..*q_proj"}) == ["q_proj"]


def test_a_layer_that_is_not_linear_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"model\.norm, which is no linear layer"):
        check_layers(adapter("model.norm"), BASE, CONFIG | {"target_modules": ["norm"]})
