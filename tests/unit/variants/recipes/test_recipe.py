import pytest

from serve.config.loader import load
from tests.support.processes import ROOT
from tests.support.recipes import parse_recipe
from variants.errors import RecipeError
from variants.recipes.recipe import Baseline, Merge, Prune, Quantize, Sparsify

LAYERS = {"kind": "prune", "structure": "layers", "drop_layers": 2, "calibration": {"task": "r8", "examples": 8}}
DISTIL = {"tasks": ["r8"], "steps": 2}
W8A8 = {"kind": "quantize", "scheme": "w8a8"}
SPARSE = {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}
W4A16 = {"kind": "quantize", "scheme": "w4a16", "group_size": 64}
KEPT = {**W8A8, "keep": "auto", "calibration": {"task": "r8", "examples": 8}}
RECOVERY = {"task": "mnist", "examples": 4000, "epochs": 2}
CHANNELS = {"kind": "prune", "structure": "channels", "sparsity": 0.5, "recovery": RECOVERY}
HEADS = {"kind": "prune", "structure": "heads", "sparsity": 0.5, "recovery": {**RECOVERY, "task": "r8_topics"}}
TRAIN_TEXT = {"kind": "train-text", "task": "r8_topics", "examples": 64, "epochs": 1}
DIFFUSION = {
    "kind": "diffusion", "task": "mnist", "examples": 4000, "width": 32, "deep_width": 64, "steps": 100,
}  # fmt: skip
LORA = {"kind": "lora", "task": "mnist", "rank": 8, "alpha": 16, "steps": 10}

DEMO = {
    "smollm2@baseline": "2e7cb500e32604b2",
    "smollm2@int8": "87612ababda3a61a",
    "smollm2@nf4": "a26e99617e9644eb",
    "smollm2@int4": "7822b2bda1d2cf97",
    "smollm2@pruned": "1202b954b1e708df",
    "smollm2@lora": "a82e781b9d37459d",
    "digits@baseline": "94c912cf725584c1",
    "digits@bf16": "b69d5115a40fa357",
    "digits@int8": "72f2d8b3122c634e",
    "digits@pruned": "442cae54bec55e51",
    "digits@lora": "9787a6ce1aa93352",
    "minilm@baseline": "a17ffe3df91cf837",
    "minilm@int8": "b1a9fe6f85ee5d8b",
}
"""The first 16 digits of what keys every artifact of the demo that users have built."""


def test_a_recipe_is_what_its_kind_says() -> None:
    assert parse_recipe({"kind": "baseline", "dtype": "bfloat16"}) == Baseline(dtype="bfloat16")
    assert parse_recipe(SPARSE) == Sparsify(algorithm="magnitude", sparsity=0.5)
    assert parse_recipe({"kind": "merge"}) == Merge()


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
        ({**CHANNELS, "structure": "2:4"}, "recipe.structure", r"no engine here runs it.*channels, layers"),
        ({**CHANNELS, "structure": "4:8"}, "recipe.structure", "channels"),
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
        ({**SPARSE, "sparsity": 1}, "recipe.sparsity", "less than 1"),
        ({**SPARSE, "sparsity": 0}, "recipe.sparsity", "greater than 0"),
        ({**SPARSE, "algorithm": "2:4"}, "recipe.algorithm", "magnitude"),
        ({**SPARSE, "calibration": {"task": "r8", "examples": 8}}, "recipe", "magnitude does not use it"),
        ({**SPARSE, "algorithm": "wanda"}, "recipe", "wanda needs it"),
        (
            {"kind": "quantize", "scheme": "int8-dynamic", "calibration": {"task": "r8", "examples": 8}},
            "recipe",
            "does not",
        ),
        ({**HEADS, "recovery": None}, "recipe", "recovery: needed for structure heads"),
        ({**HEADS, "drop_layers": 2}, "recipe", "drop_layers: not for structure heads"),
        ({**TRAIN_TEXT, "tokens": 4}, "recipe.tokens", "greater than or equal to 8"),
        ({**TRAIN_TEXT, "image_size": 64}, "recipe.image_size", "Extra"),
        ({**LORA, "rank": 0}, "recipe.rank", "greater than 0"),
        ({**LORA, "image_size": 64}, "recipe", "both for an image classifier"),
        ({**LORA, "architecture": "efficientnet-lite0"}, "recipe", "both for an image classifier"),
        ({**LORA, "architecture": "resnet-50", "image_size": 64}, "recipe.architecture", "efficientnet-lite0"),
        ({"kind": "chain", "steps": [W8A8, W8A8]}, "recipe", "chain"),
        ({**SPARSE, "algorithm": "wanda"}, "recipe", "calibration: algorithm wanda needs it"),
        (
            {**W8A8, "algorithm": "awq", "calibration": {"task": "r8", "examples": 8}},
            "recipe",
            "awq is for scheme w4a16",
        ),
        ({**W8A8, "int8_layers": ["down_proj"]}, "recipe", "int8_layers: not for scheme w8a8"),
        ({**W4A16, "int8_layers": []}, "recipe.int8_layers", "at least 1"),
        ({**W4A16, "int8_layers": [".*"]}, "recipe.int8_layers[0]", "pattern"),
        ({**W4A16, "algorithm": "awq"}, "recipe", "calibration: this recipe needs it"),
        (
            {**W4A16, "smoothing": 0.5, "calibration": {"task": "r8", "examples": 8}},
            "recipe",
            "smoothing: not for scheme w4a16",
        ),
        ({"kind": "quantize", "scheme": "llm-int8", "algorithm": "gptq"}, "recipe", "not for scheme llm-int8"),
        ({"kind": "quantize", "scheme": "fp16", "smoothing": 0.5}, "recipe", "not for scheme fp16"),
        ({"kind": "quantize", "scheme": "fp16", "keep": "auto"}, "recipe", "keep: not for scheme fp16"),
        ({"kind": "quantize", "scheme": "int8-dynamic", "keep": "auto"}, "recipe", "keep: not for scheme int8-dynamic"),
        ({**W8A8, "keep": "auto"}, "recipe", "calibration: this recipe needs it"),
        ({**KEPT, "most_loss": None}, "recipe", "most_loss: keep auto needs a limit"),
        ({**W8A8, "most_loss": -0.1}, "recipe.most_loss", "greater than or equal to 0"),
        ({"kind": "merge", "most_loss": 0.1}, "recipe.most_loss", "Extra"),
        ({**DIFFUSION, "width": 60}, "recipe.width", "multiple of 8"),
        ({**DIFFUSION, "deep_width": 8}, "recipe.deep_width", "greater than or equal to 16"),
        ({**DIFFUSION, "sampling_steps": 1}, "recipe.sampling_steps", "greater than or equal to 2"),
        ({**DIFFUSION, "guidance": 2}, "recipe.guidance", "Extra"),
    ],
)
def test_what_means_nothing_is_refused_by_field(data: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as refused:
        parse_recipe(data)
    assert refused.value.field == field
    assert "\n" not in str(refused.value)


def test_equal_recipes_have_equal_digests_and_any_change_another() -> None:
    plain = parse_recipe(W8A8)
    assert plain.canonical_sha256() == parse_recipe({**W8A8, "algorithm": "rtn"}).canonical_sha256()
    smooth = {**W8A8, "smoothing": 0.5, "calibration": {"task": "r8", "examples": 64}}
    others = [smooth, {**smooth, "smoothing": 0.6}, {"kind": "quantize", "scheme": "nf4"}]
    assert len({plain.canonical_sha256(), *(parse_recipe(other).canonical_sha256() for other in others)}) == 4


def test_the_digest_stays_what_it_was() -> None:
    """Keys of artifacts that users have built depend on it."""
    assert parse_recipe({"kind": "baseline", "dtype": "bfloat16"}).canonical_sha256() == (
        "2e7cb500e32604b241397f0cd41262d49081d6046d83488d60542928881b8669"
    )


def test_a_field_that_came_later_changes_no_recipe_that_does_not_have_it() -> None:
    plain, wide = parse_recipe(W4A16), parse_recipe({**W4A16, "int8_layers": ["down_proj"]})
    assert "int8_layers" not in plain.model_dump()
    assert plain.canonical_sha256() != wide.canonical_sha256()
    assert parse_recipe(wide.model_dump(mode="json")) == wide


def test_what_the_demos_artifacts_are_keyed_by_stays_too() -> None:
    stack = load(ROOT / "deploy" / "stacks" / "demo-all.yaml")
    digests = {
        f"{model}@{name}": variant.recipe.canonical_sha256()[:16]
        for model, served in stack.models.items()
        for name, variant in served.variants.items()
    }
    assert digests == DEMO


@pytest.mark.parametrize(
    ("data", "measure", "limit"),
    [
        (W8A8, "accuracy", 0.2),
        (W8A8, "perplexity", 1.0),
        (KEPT, "cosine", 0.02),
        (KEPT, "perplexity", 0.05),
        ({**KEPT, "most_loss": 0.01}, "perplexity", 0.01),
        ({**SPARSE, "most_loss": 0}, "accuracy", 0),
        ({**CHANNELS, "most_loss": None}, "accuracy", None),
    ],
)
def test_the_most_that_may_be_lost_depends_on_measure_and_keep(
    data: dict[str, object], measure: str, limit: float | None
) -> None:
    recipe = parse_recipe(data)
    assert isinstance(recipe, Quantize | Prune | Sparsify)
    assert recipe.limit(measure) == limit


def test_most_loss_decides_bytes_only_with_keep() -> None:
    for data, decides in ((W8A8, False), (SPARSE, False), (KEPT, True)):
        plain, strict = parse_recipe(data), parse_recipe({**data, "most_loss": 0.01})
        assert isinstance(plain, Quantize | Sparsify)
        assert isinstance(strict, Quantize | Sparsify)
        assert (plain.of_bytes() != strict.of_bytes()) is decides
        assert "most_loss" not in plain.model_dump()
        assert parse_recipe(strict.model_dump(mode="json")) == strict
