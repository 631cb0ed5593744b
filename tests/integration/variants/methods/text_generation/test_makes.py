"""Text models of other makes than Llama: built, or refused by name before any work."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.variants.conftest import job
from tests.integration.variants.tiny_makes import END, SIZES, byte_tokens, write, write_gpt2, write_phi3
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import IntegrityError, RecipeError
from variants.home import home
from variants.methods.base import MethodResult
from variants.methods.registry import find
from variants.methods.text_generation.layers import changed_share, outline
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
BASELINE = {"kind": "baseline", "dtype": "float32"}
SEEN = {"task": "rotten_tomatoes", "examples": 4}
INT8 = {"kind": "quantize", "scheme": "w8a8"}
INT4 = {"kind": "quantize", "scheme": "w4a16", "group_size": 64}
NF4 = {"kind": "quantize", "scheme": "nf4"}
SPARSE = {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}
LORA = {"kind": "lora", "task": "rotten_tomatoes", "rank": 4, "alpha": 8, "steps": 2, "batch": 2}
PRUNED = {"kind": "prune", "structure": "layers", "drop_layers": 1, "calibration": SEEN}
NARROW = {"kind": "prune", "structure": "layers", "width": 0.5, "calibration": SEEN}
ENDS = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}


def bloom(folder: Path) -> Path:
    return write(
        folder, "BloomForCausalLM", byte_tokens(END, eos_token=END), hidden_size=64, n_layer=2, n_head=2, **ENDS
    )


def mamba(folder: Path) -> Path:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    return write(folder, "MambaForCausalLM", byte_tokens(END, eos_token=END), **sizes, **ENDS)


def mpt(folder: Path) -> Path:
    sizes = {"d_model": 64, "n_layers": 2, "n_heads": 2, "max_seq_len": 96}
    return write(folder, "MptForCausalLM", byte_tokens(END, eos_token=END), **sizes, **ENDS)


def mixtral(folder: Path) -> Path:
    sizes = SIZES | {"num_local_experts": 4, "num_experts_per_tok": 2}
    return write(folder, "MixtralForCausalLM", byte_tokens(END, eos_token=END), **sizes, **ENDS)


def smollm3(folder: Path) -> Path:
    sizes = SIZES | {"num_hidden_layers": 4, "no_rope_layers": [1, 0, 1, 0]}
    return write(folder, "SmolLM3ForCausalLM", byte_tokens(END, eos_token=END), **sizes, **ENDS)


def built(store: Store, source: Path) -> Artifact:
    """The baseline of the model in `source`."""
    plan = VariantPlan(
        "m", "baseline", "text-generation", Source(uri=str(source), licence="MIT"), parse_recipe(BASELINE)
    )
    return build([plan], store, Catalog(store.home))["m", "baseline"]


def made(recipe: Mapping[str, object], out: Path, parent: Artifact) -> MethodResult:
    """The recipe carried out, with the data that the whole run shares."""
    if not (out.parent / "home").exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        (out.parent / "home").symlink_to(home())
    return find("text-generation", parse_recipe(recipe)).run(job(recipe, out, None, parent))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("gpt2")
    return built(Store(folder / "home"), write_gpt2(folder / "source"))


@pytest.fixture(scope="module")
def phi3(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("phi3")
    return built(Store(folder / "home"), write_phi3(folder / "source"))


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (INT8, "linear layers, which hold 0 of the 98,304 weights of this gpt2"),
        (INT4, "linear layers, which hold 0 of the 98,304 weights of this gpt2"),
        (NF4, "linear layers, which hold 0 of the 98,304 weights of this gpt2"),
        ({**SPARSE, "algorithm": "wanda", "calibration": SEEN}, "hold 0 of the 98,304 weights"),
        (LORA, "a gpt2 has no linear layer that an adapter could change"),
        (PRUNED, "the layers of a gpt2 are not built as those of a Llama"),
    ],
)
def test_gpt2_is_refused_where_a_method_would_not_change_it(
    gpt2: Artifact, tmp_path: Path, recipe: dict[str, Any], says: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)) as refused:
        made(recipe, tmp_path / "model", gpt2)
    assert (refused.value.field, bool(refused.value.mend)) == ("parent", True)
    assert not list((tmp_path / "model").iterdir())


def test_gpt2_is_sparse_by_magnitude(gpt2: Artifact, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    note = made(SPARSE, tmp_path / "model", gpt2).note
    assert "100% of the weights outside of embeddings and head" in note
    weights = load_file(tmp_path / "model" / "model.safetensors")
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        assert float((weights[f"transformer.h.1.{name}.weight"] == 0).float().mean()) >= 0.495, name


def test_fused_feed_forwards_are_refused_and_whole_layers_dropped(phi3: Artifact, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="feed-forwards of a phi3 have no gate_proj") as refused:
        made(NARROW, tmp_path / "narrow" / "model", phi3)
    assert refused.value.field == "recipe.width"
    made(PRUNED, tmp_path / "dropped" / "model", phi3)
    assert outline(tmp_path / "dropped" / "model").config.num_hidden_layers == 1


def test_settings_a_layer_are_dropped_with_their_layers(tmp_path: Path) -> None:
    parent = built(Store(tmp_path / "home"), smollm3(tmp_path / "source"))
    dropped = re.search(r"without layers ([\d, ]+)", made(PRUNED, tmp_path / "a" / "model", parent).note)
    assert dropped
    kept = [value for place, value in enumerate([1, 0, 1, 0]) if place != int(dropped[1])]
    assert outline(tmp_path / "a" / "model").config.no_rope_layers == kept


def test_experts_that_a_method_would_not_change_are_refused(tmp_path: Path) -> None:
    parent = built(Store(tmp_path / "home"), mixtral(tmp_path / "source"))
    for recipe in (INT8, SPARSE):
        with pytest.raises(RecipeError, match="weights of this mixtral"):
            made(recipe, tmp_path / str(recipe["kind"]) / "model", parent)


@pytest.mark.parametrize(("write_model", "length"), [(bloom, None), (mamba, None), (mpt, 96)])
def test_models_without_a_table_of_positions_are_built(
    tmp_path: Path, write_model: Callable[[Path], Path], length: int | None
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = write_model(tmp_path / "source")
    folder = built(Store(tmp_path / "home"), source).model_path
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        mine, theirs = (AutoModelForCausalLM.from_pretrained(each).eval()(ids).logits for each in (folder, source))
    assert torch.equal(mine, theirs)
    named = AutoTokenizer.from_pretrained(folder).model_max_length
    assert named == length if length else named > 10**9


def test_forms_that_vllm_does_not_load_are_refused(tmp_path: Path) -> None:
    parent = built(Store(tmp_path / "home"), bloom(tmp_path / "source"))
    int8 = {"kind": "quantize", "scheme": "llm-int8"}
    for recipe, form in ((INT4, "in w4a16"), (NF4, "in NF4"), (int8, r"in LLM\.int8"), (LORA, "with adapters")):
        with pytest.raises(RecipeError, match=f"vLLM does not load a bloom {form}") as refused:
            made(recipe, tmp_path / str(recipe.get("scheme", "lora")) / "model", parent)
        assert refused.value.field == "parent"


def test_a_head_that_vllm_does_not_load_in_int8_stays_the_embedding(tmp_path: Path) -> None:
    """vLLM's Gemma 2 has no head of its own."""
    from safetensors import safe_open

    sizes = SIZES | {"head_dim": 32, "query_pre_attn_scalar": 32}
    source = write(tmp_path / "source", "Gemma2ForCausalLM", byte_tokens(END, eos_token=END), **sizes, **ENDS)
    made(INT8, tmp_path / "int8" / "model", built(Store(tmp_path / "home"), source))
    with safe_open(tmp_path / "int8" / "model" / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
        assert str(weights.get_tensor("model.layers.0.mlp.up_proj.weight").dtype) == "torch.int8"
    assert not [name for name in names if name.startswith("lm_head")]


def test_a_share_says_what_was_changed_and_nothing_changed_is_an_error(phi3: Artifact) -> None:
    model = outline(phi3.model_path)
    with pytest.raises(IntegrityError, match="no layer was changed"):
        changed_share(model, [])
    layers = [each for name, each in model.named_modules() if name.endswith("qkv_proj")]
    # 3 x 64 x 64 of 64 x (192 + 64 + 256 + 128) a layer
    assert changed_share(model, layers).startswith("30%")
