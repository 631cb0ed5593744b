import pytest

from variants.errors import RecipeError
from variants.recipe import Baseline, Chain, Quantize, parse_recipe

LAYERS = {"kind": "prune", "structure": "layers", "drop_layers": 2, "calibration": {"task": "r8", "examples": 8}}
DISTIL = {"tasks": ["r8"], "steps": 2}
W8A8 = {"kind": "quantize", "scheme": "w8a8"}
RECOVERY = {"task": "mnist", "examples": 4000, "epochs": 2}
CHANNELS = {"kind": "prune", "structure": "channels", "sparsity": 0.5, "recovery": RECOVERY}
DIFFUSION = {
    "kind": "diffusion", "task": "mnist", "examples": 4000, "width": 32, "deep_width": 64, "steps": 100,
}  # fmt: skip
LORA = {"kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 10}


def test_a_recipe_is_what_its_kind_says() -> None:
    assert parse_recipe({"kind": "baseline", "dtype": "bfloat16"}) == Baseline(dtype="bfloat16")
    chain = parse_recipe({"kind": "chain", "steps": [CHANNELS, W8A8]})
    assert isinstance(chain, Chain)
    assert isinstance(chain.steps[1], Quantize)


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [
        ({"kind": "baseline", "dtype": "float16"}, "recipe.dtype", "bfloat16"),
        ({"kind": "distil"}, "recipe", "distil"),
        ({"kind": "baseline", "dtype": "float32", "bits": 8}, "recipe.bits", "Extra"),
        ({**CHANNELS, "sparsity": 1.2}, "recipe.sparsity", "less than 1"),
        ({**CHANNELS, "sparsity": 1.0}, "recipe.sparsity", "less than 1"),
        ({**CHANNELS, "sparsity": 0}, "recipe.sparsity", "greater than 0"),
        ({**CHANNELS, "sparsity": None}, "recipe", "sparsity: needed for structure channels"),
        ({**CHANNELS, "recovery": None}, "recipe", "recovery: needed for structure channels"),
        ({**CHANNELS, "recovery": {**RECOVERY, "epochs": 0}}, "recipe.recovery.epochs", "greater than 0"),
        ({**CHANNELS, "structure": "2:4"}, "recipe.structure", "channels"),
        ({**CHANNELS, "drop_layers": 2}, "recipe", "drop_layers: not for structure channels"),
        ({**LAYERS, "sparsity": 0.5}, "recipe", "sparsity: not for structure layers"),
        ({**LAYERS, "drop_layers": 0}, "recipe.drop_layers", "greater than 0"),
        ({**LAYERS, "drop_layers": None}, "recipe", "at least one"),
        ({**LAYERS, "calibration": None}, "recipe", "calibration: needed"),
        ({**LAYERS, "width": 1.2}, "recipe.width", "less than 1"),
        ({**LAYERS, "distillation": {**DISTIL, "tasks": []}}, "recipe.distillation.tasks", "at least 1"),
        ({"kind": "quantize", "scheme": "w4a16", "group_size": -64}, "recipe.group_size", "greater than 0"),
        ({"kind": "quantize", "scheme": "w4a16"}, "recipe", "group_size"),
        ({**W8A8, "group_size": 64}, "recipe", "group_size"),
        ({**W8A8, "algorithm": "gptq"}, "recipe", "calibration"),
        ({"kind": "quantize", "scheme": "nf4", "smoothing": 0.5}, "recipe", "smoothing"),
        ({"kind": "quantize", "scheme": "int8"}, "recipe", "calibration"),
        ({**LORA, "rank": 0}, "recipe.rank", "greater than 0"),
        ({**LORA, "image_size": 64}, "recipe", "both for an image classifier"),
        ({**LORA, "architecture": "efficientnet-lite0"}, "recipe", "both for an image classifier"),
        ({**LORA, "architecture": "resnet-50", "image_size": 64}, "recipe.architecture", "efficientnet-lite0"),
        ({**DIFFUSION, "width": 60}, "recipe.width", "multiple of 8"),
        ({**DIFFUSION, "deep_width": 8}, "recipe.deep_width", "greater than or equal to 16"),
        ({**DIFFUSION, "sampling_steps": 1}, "recipe.sampling_steps", "greater than or equal to 2"),
        ({**DIFFUSION, "guidance": 2}, "recipe.guidance", "Extra"),
        ({"kind": "prune", "structure": "magnitude"}, "recipe", "sparsity: needed for structure magnitude"),
        ({**CHANNELS, "structure": "magnitude"}, "recipe", "recovery: not for structure magnitude"),
        ({"kind": "chain", "steps": [W8A8]}, "recipe.steps", "at least 2"),
    ],
)
def test_what_means_nothing_is_refused_by_field(data: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as refused:
        parse_recipe(data)
    assert refused.value.field == field
    assert "\n" not in str(refused.value)


def test_equal_recipes_have_equal_digests_and_any_change_another() -> None:
    plain = parse_recipe(W8A8)
    assert plain.digest() == parse_recipe({**W8A8, "algorithm": "rtn"}).digest()
    smooth = {**W8A8, "smoothing": 0.5, "calibration": {"task": "r8", "examples": 64}}
    others = [smooth, {**smooth, "smoothing": 0.6}, {"kind": "quantize", "scheme": "nf4"}]
    assert len({plain.digest(), *(parse_recipe(other).digest() for other in others)}) == 4


def test_the_digest_stays_what_it_was() -> None:
    """Keys of artifacts that users have built depend on it."""
    assert parse_recipe({"kind": "baseline", "dtype": "bfloat16"}).digest() == (
        "2e7cb500e32604b241397f0cd41262d49081d6046d83488d60542928881b8669"
    )
