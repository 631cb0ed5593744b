"""Further variants of a tiny random Llama, and chains of them: exactly the shapes, dtypes and zeros that they claim,
and what cannot be made is refused before it is begun."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.machine import Gpu
from variants.methods.registry import find
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
SEEN = {"task": "rotten_tomatoes", "examples": 8}
W8A8 = {"kind": "quantize", "scheme": "w8a8"}
RECIPES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "baseline": (None, {"kind": "baseline", "dtype": "bfloat16"}),
    "int8-gptq": ("baseline", {**W8A8, "algorithm": "gptq", "calibration": SEEN}),
    "int4-awq": (
        "baseline",
        {"kind": "quantize", "scheme": "w4a16", "group_size": 32, "algorithm": "awq", "calibration": SEEN},
    ),
    "int4-wide": (
        "baseline",
        {"kind": "quantize", "scheme": "w4a16", "group_size": 32, "int8_layers": ["q_proj", "k_proj", "v_proj"]},
    ),
    "bnb-int8": ("baseline", {"kind": "quantize", "scheme": "llm-int8"}),
    "fp16": ("baseline", {"kind": "quantize", "scheme": "fp16"}),
    "magnitude": ("baseline", {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}),
    "wanda": ("baseline", {"kind": "sparsify", "algorithm": "wanda", "sparsity": 0.25, "calibration": SEEN}),
    "sparsegpt": ("baseline", {"kind": "sparsify", "algorithm": "sparsegpt", "sparsity": 0.5, "calibration": SEEN}),
    "pruned": ("baseline", {"kind": "prune", "structure": "layers", "width": 0.5, "calibration": SEEN}),
    "pruned-int8": ("pruned", W8A8),
    "sparse-int8": ("magnitude", W8A8),
    "lora": ("baseline", {"kind": "lora", "task": "rotten_tomatoes", "rank": 4, "alpha": 8, "steps": 3, "batch": 4}),
    "merged": ("lora", {"kind": "merge"}),
    "lora-int8": ("merged", W8A8),
}
UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"
QUERY, OUT = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight"


def plans(tiny_llama: Path, recipes: dict[str, tuple[str | None, dict[str, Any]]]) -> list[VariantPlan]:
    source = Source(uri=str(tiny_llama), licence="Apache-2.0")
    return [
        VariantPlan("tiny", name, "text-generation", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]


class Family:
    """The variants, each built when it is first asked for, with what it is made from."""

    def __init__(self, tiny_llama: Path, home: Path) -> None:
        self.source, self.store = tiny_llama, Store(home)

    def __getitem__(self, name: str) -> Artifact:
        line = [name]
        while parent := RECIPES[line[-1]][0]:
            line.append(parent)
        wanted = plans(self.source, {each: RECIPES[each] for each in line})
        return build(wanted, self.store, Catalog(self.store.home))["tiny", name]


@pytest.fixture(scope="module")
def built(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tiny_llama, tmp_path_factory.mktemp("home"))


def tensors(artifact: Artifact, name: str = "model.safetensors") -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(artifact.model_path / name)


def logits(artifact: Artifact) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.inference_mode():
        return AutoModelForCausalLM.from_pretrained(artifact.model_path)(torch.tensor([[1, 5, 6, 7]])).logits.float()


def test_int8_by_gptq_alone_is_what_int8_is(built: Family) -> None:
    import torch

    weights = tensors(built["int8-gptq"])
    assert (weights[UP].dtype, weights[UP].shape) == (torch.int8, (128, 64))
    assert (weights[UP + "_scale"].dtype, weights[UP + "_scale"].shape) == (torch.bfloat16, (128, 1))
    assert weights["lm_head.weight"].dtype == torch.int8


def test_awq_is_packed_as_gptq_is_and_has_moved_scale_into_the_norms(built: Family) -> None:
    import torch

    parent, stored = tensors(built["baseline"]), tensors(built["int4-awq"])
    assert (stored[DOWN + "_packed"].dtype, stored[DOWN + "_packed"].shape) == (torch.int32, (64, 128 // 8))
    assert (stored[DOWN + "_scale"].dtype, stored[DOWN + "_scale"].shape) == (torch.bfloat16, (64, 128 // 32))
    assert stored[DOWN + "_shape"].tolist() == [64, 128]
    assert (stored["lm_head.weight"].dtype, stored["model.embed_tokens.weight"].dtype) == (torch.int8, torch.bfloat16)
    norm = "model.layers.0.post_attention_layernorm.weight"
    assert not torch.equal(stored[norm], parent[norm])
    config = json.loads((built["int4-awq"].model_path / "config.json").read_text())["quantization_config"]
    weights = config["config_groups"]["group_0"]["weights"]
    assert (weights["num_bits"], weights["group_size"], weights["symmetric"]) == (4, 32, True)
    near = torch.nn.functional.cosine_similarity(logits(built["int4-awq"]), logits(built["baseline"]), dim=-1)
    assert near.min() > 0.9


def test_layers_that_int4_would_cost_too_much_are_int8(built: Family) -> None:
    import torch

    weights = tensors(built["int4-wide"])
    for layer in ("q_proj", "k_proj", "v_proj"):
        name = f"model.layers.1.self_attn.{layer}.weight"
        assert weights[name].dtype == torch.int8
        assert weights[name + "_scale"].shape == (weights[name].shape[0], 1)
    for name in ("model.layers.1.self_attn.o_proj.weight", UP, DOWN):
        assert weights[name + "_packed"].dtype == torch.int32
        assert name not in weights
    assert "the head, q_proj, k_proj, v_proj in int8" in built["int4-wide"].manifest.note
    near = torch.nn.functional.cosine_similarity(logits(built["int4-wide"]), logits(built["baseline"]), dim=-1)
    assert near.min() > 0.9


def test_llm_int8_is_a_byte_a_weight_with_a_scale_a_row(built: Family) -> None:
    import torch

    parent, weights = tensors(built["baseline"]), tensors(built["bnb-int8"])
    assert (weights[UP].dtype, weights[UP].shape) == (torch.int8, (128, 64))
    scale = weights[UP.replace("weight", "SCB")]
    assert (scale.dtype, scale.shape) == (torch.float32, (128,))
    assert torch.equal(scale, parent[UP].float().abs().amax(1))
    error = (weights[UP].float() * scale[:, None] / 127 - parent[UP].float()).abs()
    assert (error <= scale[:, None] / 127 * 0.51).all()
    assert weights["lm_head.weight"].dtype == torch.bfloat16
    assert (
        torch.nn.functional.cosine_similarity(logits(built["bnb-int8"]), logits(built["baseline"]), dim=-1).min() > 0.99
    )


def test_fp16_is_the_parents_numbers_in_float16(built: Family) -> None:
    import torch

    parent, weights = tensors(built["baseline"]), tensors(built["fp16"])
    assert weights.keys() == parent.keys()
    assert all(torch.equal(weight, parent[name].to(torch.float16)) for name, weight in weights.items())
    assert all(weight.dtype == torch.float16 for weight in weights.values())
    assert json.loads((built["fp16"].model_path / "config.json").read_text())["dtype"] == "float16"
    assert built["fp16"].manifest.precision == "f16"


@pytest.mark.parametrize(("variant", "sparsity"), [("magnitude", 0.5), ("wanda", 0.25), ("sparsegpt", 0.5)])
def test_a_sparse_variant_has_its_zeros_and_is_as_large_as_its_parent(
    built: Family, variant: str, sparsity: float
) -> None:
    import torch

    parent, weights = tensors(built["baseline"]), tensors(built[variant])
    assert {name: (w.dtype, w.shape) for name, w in weights.items()} == {
        n: (w.dtype, w.shape) for n, w in parent.items()
    }
    for name, weight in weights.items():
        if "_proj" not in name:
            assert torch.equal(weight, parent[name]), name
            continue
        zeros = (weight == 0).sum(1)
        if variant == "wanda":
            assert zeros.unique().tolist() == [weight.shape[1] * sparsity], f"{name}: as many in each row"
        elif variant == "magnitude":
            assert int(zeros.sum()) == weight.numel() * sparsity, name
        else:  # the weight at each block's threshold goes too, and one that is made up for may come to zero
            assert 0 <= int(zeros.sum()) - weight.numel() * sparsity <= 8, name
        if variant != "sparsegpt":
            assert torch.equal(weight[weight != 0], parent[name][weight != 0]), f"{name}: what stays, stays as it was"
    assert built[variant].manifest.bytes == pytest.approx(built["baseline"].manifest.bytes, abs=1000)
    assert "neither smaller nor faster" in built[variant].manifest.note


def test_magnitude_takes_the_smallest(built: Family) -> None:
    parent, weights = tensors(built["baseline"]), tensors(built["magnitude"])
    assert parent[UP][weights[UP] == 0].abs().max() <= parent[UP][weights[UP] != 0].abs().min()


def test_a_merged_adapter_is_the_base_plus_its_product(built: Family) -> None:
    import torch

    base, merged = tensors(built["baseline"]), tensors(built["merged"])
    adapter = tensors(built["lora"], "adapter_model.safetensors")
    assert {n: (w.dtype, w.shape) for n, w in merged.items()} == {n: (w.dtype, w.shape) for n, w in base.items()}
    for name in (QUERY, OUT):
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        a, b = (adapter[f"{stem}.lora_{side}.weight"].float() for side in "AB")
        assert torch.equal(merged[name], (base[name].float() + b @ a * (8 / 4)).to(torch.bfloat16)), name
    assert torch.equal(merged["lm_head.weight"], base["lm_head.weight"])
    assert (built["merged"].manifest.format, built["merged"].manifest.precision) == ("huggingface", "bf16")


@pytest.mark.parametrize(
    ("variant", "line", "shape"),
    [
        ("pruned-int8", ["pruned", "baseline"], (64, 64)),
        ("sparse-int8", ["magnitude", "baseline"], (128, 64)),
        ("lora-int8", ["merged", "lora", "baseline"], (128, 64)),
    ],
)
def test_each_step_of_a_chain_is_an_artifact(
    built: Family, variant: str, line: list[str], shape: tuple[int, int]
) -> None:
    import torch

    weight = tensors(built[variant])[UP]
    assert (weight.dtype, weight.shape) == (torch.int8, shape)
    manifest: Manifest = built[variant].manifest
    for name in line:
        assert (manifest.parent, manifest.parent_digest) == (name, built[name].manifest.digest)
        manifest = built[name].manifest
    assert manifest.parent is None


def test_zeros_stay_zeros_in_int8(built: Family) -> None:
    sparse, quantized = tensors(built["magnitude"]), tensors(built["sparse-int8"])
    assert (quantized[UP][sparse[UP] == 0] == 0).all()


def test_a_merged_artifact_is_keyed_by_what_the_adapter_was_trained_on(
    built: Family, tiny_llama: Path, tmp_path: Path
) -> None:
    """The same adapter on other weights is another model."""
    from variants.build.builder import artifact_key
    from variants.progress import NoProgress

    plan = next(each for each in plans(tiny_llama, RECIPES) if each.variant == "merged")
    method = find("text-generation", plan.recipe)

    def key(base: str) -> str:
        return artifact_key(plan, method, built["lora"], built[base], tmp_path, NoProgress())

    assert key("baseline") == built["merged"].manifest.key
    assert key("fp16") != key("baseline")


def test_fp8_weights_are_8_bit_floats_with_a_scale_a_row(built: Family, tmp_path: Path) -> None:
    """Rounded here on a CPU, which has no kernel to run it."""
    import torch

    wanted = job({"kind": "quantize", "scheme": "w8a8-fp8"}, tmp_path / "a" / "out", parent=built["baseline"])
    made = find("text-generation", wanted.recipe).run(wanted)
    weights = tensors(Artifact(wanted.out.parent, built["baseline"].manifest), str(wanted.out / "model.safetensors"))
    assert (weights[UP].dtype, weights[UP].shape) == (torch.float8_e4m3fn, (128, 64))
    assert weights[UP + "_scale"].shape == (128, 1)
    assert weights["lm_head.weight"].dtype == torch.bfloat16
    assert made.precision == "fp8"


@pytest.mark.parametrize(
    ("gpus", "says"), [((), "here: none"), ((Gpu("NVIDIA A100", 8.0),), r"here: NVIDIA A100 \(8.0\)")]
)
def test_fp8_is_refused_where_nothing_would_run_it(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: tuple[Gpu, ...], says: str
) -> None:
    monkeypatch.setattr("variants.build.builder.gpus", lambda: gpus)
    recipes = {"baseline": RECIPES["baseline"], "fp8": ("baseline", {"kind": "quantize", "scheme": "w8a8-fp8"})}
    store = Store(tmp_path)
    with pytest.raises(RecipeError, match=says) as refused:
        build(plans(tiny_llama, recipes), store, Catalog(tmp_path))
    assert refused.value.field == "models.tiny.variants.fp8.recipe"
    assert store.stored() == []


@pytest.mark.parametrize(
    ("parent", "recipe", "says"),
    [
        ("baseline", {"kind": "merge"}, "needs a parent that is an adapter"),
        ("lora", W8A8, "kind merge between"),
        ("lora", {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}, "kind merge between"),
        ("int8-gptq", {"kind": "quantize", "scheme": "llm-int8"}, "unquantized weights, not int8"),
        ("bnb-int8", {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}, "unquantized weights, not int8"),
    ],
)
def test_a_parent_that_does_not_fit_is_refused_before_any_work(
    built: Family, tmp_path: Path, parent: str, recipe: dict[str, Any], says: str
) -> None:
    wanted = job(recipe, tmp_path / "a" / "out", parent=built[parent])
    with pytest.raises(RecipeError, match=says) as refused:
        find("text-generation", wanted.recipe).run(wanted)
    assert refused.value.field == "parent"
    assert not list(wanted.out.iterdir())


def test_more_calibration_examples_than_there_are_is_refused(built: Family, tmp_path: Path) -> None:
    many = {"task": "r8", "examples": 10_000}
    recipe = {"kind": "sparsify", "algorithm": "wanda", "sparsity": 0.5, "calibration": many}
    wanted = job(recipe, tmp_path / "a" / "out", parent=built["baseline"])
    with pytest.raises(RecipeError, match="512 examples in its calibration split") as refused:
        find("text-generation", wanted.recipe).run(wanted)
    assert refused.value.field == "recipe.calibration.examples"
    assert not list(wanted.out.iterdir())
