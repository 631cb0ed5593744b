"""int4, pruned and adapter variants of a tiny random Llama: what they write is what they say, and the parent stays as
it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.adapter import check_adapter
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.files import hash_folder
from variants.methods.registry import find
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
SEEN = {"task": "rotten_tomatoes", "examples": 8}
INT4: dict[str, Any] = {
    "kind": "quantize", "scheme": "w4a16", "group_size": 32, "algorithm": "gptq", "calibration": SEEN
}  # fmt: skip
PRUNED: dict[str, Any] = {
    "kind": "prune", "structure": "layers", "drop_layers": 1, "width": 0.5, "calibration": SEEN
}  # fmt: skip
LORA: dict[str, Any] = {
    "kind": "lora", "task": "rotten_tomatoes", "rank": 4, "alpha": 8, "steps": 3, "batch": 4
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "int4": INT4,
    "pruned": PRUNED,
    "taught": {**PRUNED, "distillation": {"tasks": ["rotten_tomatoes"], "steps": 3, "batch": 4}},
    "lora": LORA,
}


@pytest.fixture(scope="module")
def built(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The baseline and its four variants, through the builder."""
    store = Store(tmp_path_factory.mktemp("home"))
    source = Source(uri=str(tiny_llama), licence="Apache-2.0")
    baseline = VariantPlan(
        "tiny", "baseline", "text-generation", source, parse_recipe({"kind": "baseline", "dtype": "bfloat16"})
    )
    parent = build([baseline], store, Catalog(store.home))["tiny", "baseline"]
    before = hash_folder(parent.path)
    plans = [
        VariantPlan("tiny", name, "text-generation", source, parse_recipe(recipe), "baseline")
        for name, recipe in RECIPES.items()
    ]
    artifacts = build([baseline, *plans], store, Catalog(store.home))
    assert hash_folder(parent.path) == before, "a parent is never written to"
    return {variant: artifact for (_, variant), artifact in artifacts.items()}


def tensors(artifact: Artifact, name: str = "model.safetensors") -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(artifact.model_path / name)


def test_w4a16_packs_eight_weights_to_an_int32_with_a_scale_a_group(built: dict[str, Artifact]) -> None:
    import torch

    weights = tensors(built["int4"])
    down, q = "model.layers.0.mlp.down_proj.", "model.layers.0.self_attn.q_proj."
    assert (weights[down + "weight_packed"].dtype, weights[down + "weight_packed"].shape) == (
        torch.int32,
        (64, 128 // 8),
    )
    assert (weights[down + "weight_scale"].dtype, weights[down + "weight_scale"].shape) == (
        torch.bfloat16,
        (64, 128 // 32),
    )
    assert weights[down + "weight_shape"].tolist() == [64, 128]
    assert weights[q + "weight_packed"].shape == (64, 64 // 8)
    assert not [name for name in weights if "zero_point" in name], "symmetric groups have none"
    assert (weights["lm_head.weight"].dtype, weights["model.embed_tokens.weight"].dtype) == (torch.int8, torch.bfloat16)
    config = json.loads((built["int4"].model_path / "config.json").read_text())["quantization_config"]
    group = config["config_groups"]["group_0"]
    assert (group["format"], group["weights"]["num_bits"], group["weights"]["group_size"]) == ("pack-quantized", 4, 32)
    assert built["int4"].manifest.precision == "int4"


def test_int4_weights_are_within_a_few_steps_of_their_parents(built: dict[str, Artifact]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    name = "model.layers.0.mlp.up_proj.weight"
    parent = tensors(built["baseline"])[name].float().reshape(128, 2, 32)
    weights = tensors(built["int4"])
    packed = weights[name + "_packed"]
    values = torch.stack([(packed >> shift) & 15 for shift in range(0, 32, 4)], dim=-1).reshape(128, 2, 32) - 8
    scale = weights[name + "_scale"].float()[..., None]
    # GPTQ moves each column's error to the next ones: near its parent on the whole, not weight by weight.
    assert (values * scale - parent).abs().mean() < scale.mean() / 2
    ids = torch.tensor([[1, 5, 6, 7]])
    small = AutoModelForCausalLM.from_pretrained(built["int4"].model_path)(ids).logits.float()
    large = AutoModelForCausalLM.from_pretrained(built["baseline"].model_path)(ids).logits.float()
    assert torch.nn.functional.cosine_similarity(small, large, dim=-1).min() > 0.9


def test_what_is_pruned_is_gone_and_what_survives_is_the_parents(built: dict[str, Artifact]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    parent, weights = tensors(built["baseline"]), tensors(built["pruned"])
    kept = 1 if "layers 0 " in built["pruned"].manifest.note else 0
    assert built["pruned"].manifest.note.startswith(f"without layers {1 - kept} of its parent")
    assert not [name for name in weights if "layers.1." in name]
    for name, weight in weights.items():
        original = parent[name.replace("layers.0.", f"layers.{kept}.")]
        if ".mlp." not in name:
            assert torch.equal(weight, original), name
    up, down = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"
    assert (weights[up].shape, weights[down].shape) == ((64, 64), (64, 64))
    whole = parent[up.replace("layers.0.", f"layers.{kept}.")]
    rows = [int((whole == row).all(1).nonzero()[0]) for row in weights[up]]
    assert rows == sorted(set(rows)), "neurons stay in their order"
    assert torch.equal(weights[down], parent[down.replace("layers.0.", f"layers.{kept}.")][:, rows])
    config = json.loads((built["pruned"].model_path / "config.json").read_text())
    assert (config["num_hidden_layers"], config["intermediate_size"]) == (1, 64)
    logits = AutoModelForCausalLM.from_pretrained(built["pruned"].model_path)(torch.tensor([[1, 5, 6]])).logits
    assert torch.isfinite(logits).all()


def test_distillation_moves_the_weights_but_not_their_shapes(built: dict[str, Artifact]) -> None:
    import torch

    before, after = tensors(built["pruned"]), tensors(built["taught"])
    assert {name: weight.shape for name, weight in before.items()} == {n: w.shape for n, w in after.items()}
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())
    assert all(weight.dtype == torch.bfloat16 for weight in after.values())


def test_the_least_influential_layer_goes_first(tiny_llama: Path) -> None:
    import torch

    from variants.methods.text_generation.baseline import load
    from variants.methods.text_generation.prune_layers import block_influence, drop_layers

    model, _ = load(tiny_llama, "float32")
    with torch.no_grad():
        for linear in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
            linear.weight.zero_()
    prompts = [torch.tensor([[1, 5, 6, 7, 8]])]
    influence = block_influence(model, prompts)
    assert influence[0] == pytest.approx(0, abs=1e-6)
    assert influence[1] > 1e-4
    expected = model(prompts[0]).logits
    assert drop_layers(model, prompts, 1) == [0]
    assert torch.equal(model(prompts[0]).logits, expected), "a layer that changed nothing is not missed"


def test_an_adapter_is_low_rank_matrices_for_its_parent_and_nothing_else(built: dict[str, Artifact]) -> None:
    import torch

    artifact = built["lora"]
    assert sorted(path.name for path in artifact.model_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    weights = tensors(artifact, "adapter_model.safetensors")
    assert len(weights) == 2 * 4 * 2, "A and B of four layers in each of two blocks"
    assert all(weight.dtype == torch.bfloat16 and 4 in weight.shape for weight in weights.values())
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name), "B starts at zero"
    config = (artifact.model_path / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == "tiny@baseline"
    assert str(artifact.path.parent) not in config
    manifest = artifact.manifest
    assert (manifest.format, manifest.precision) == ("adapter", "bf16")
    assert manifest.parent_digest == built["baseline"].manifest.digest
    assert manifest.bytes == sum(entry.bytes for entry in manifest.files.values())
    adapter = check_adapter(artifact, built["baseline"].manifest, max_rank=16)
    assert adapter.rank == 4
    assert adapter.targets == ("k_proj", "o_proj", "q_proj", "v_proj")
    with pytest.raises(RecipeError, match=r"not for tiny@pruned"):
        check_adapter(artifact, built["pruned"].manifest)


def test_the_same_seed_gives_the_same_adapter(built: dict[str, Artifact], tmp_path: Path) -> None:
    again = job(LORA, tmp_path / "a" / "out", parent=built["baseline"])
    find("text-generation", again.recipe).run(again)
    assert hash_folder(again.out) == hash_folder(built["lora"].model_path)


def test_an_adapter_that_is_loaded_again_is_what_was_trained(built: dict[str, Artifact]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[1, 5, 6, 7]])
    base = AutoModelForCausalLM.from_pretrained(built["baseline"].model_path)
    plain = base(ids).logits
    model = PeftModel.from_pretrained(base, built["lora"].model_path)
    stored = tensors(built["lora"], "adapter_model.safetensors")
    loaded = {name.replace(".default", ""): weight for name, weight in model.state_dict().items() if "lora_" in name}
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(weight.to(torch.bfloat16), stored[name]) for name, weight in loaded.items())
    assert not torch.equal(model(ids).logits, plain)


@pytest.mark.parametrize(
    ("recipe", "field", "says"),
    [
        ({**INT4, "group_size": 128}, "recipe.group_size", r"128 do not divide the 64 inputs .*one of 32, 64"),
        ({**PRUNED, "drop_layers": 2}, "recipe.drop_layers", r"has 2 layers \(at most 1\)"),
        ({**PRUNED, "width": 0.1}, "recipe.width", "comes to 0"),
        ({**LORA, "task": "r8"}, "recipe.task", "labels share their first token"),
        ({**LORA, "steps": 100_000}, "recipe.steps", r"need 400000 examples.*at most 2560"),
    ],
)
def test_what_does_not_fit_the_parent_is_refused_before_any_work(
    built: dict[str, Artifact], tmp_path: Path, recipe: dict[str, Any], field: str, says: str
) -> None:
    wanted = job(recipe, tmp_path / "a" / "out", parent=built["baseline"])
    with pytest.raises(RecipeError, match=says) as refused:
        find("text-generation", wanted.recipe).run(wanted)
    assert refused.value.field == field
    assert not list(wanted.out.iterdir())


@pytest.mark.parametrize("recipe", [INT4, PRUNED, LORA])
def test_a_quantized_parent_is_refused(built: dict[str, Artifact], tmp_path: Path, recipe: dict[str, Any]) -> None:
    wanted = job(recipe, tmp_path / "a" / "out", parent=built["int4"])
    with pytest.raises(RecipeError, match="needs unquantized weights, not int4") as refused:
        find("text-generation", wanted.recipe).run(wanted)
    assert refused.value.field == "parent"
