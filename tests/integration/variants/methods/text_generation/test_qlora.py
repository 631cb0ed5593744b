"""An adapter trained on a base in NF4, as stored and as served; and what no adapter is trained on."""

from pathlib import Path
from typing import Any

import pytest

from serve.config.stack import Stack
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.recipes import parse_recipe
from variants.artifacts.adapter import Adapter, check_adapter
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
LORA = {"kind": "lora", "task": "rotten_tomatoes", "rank": 4, "alpha": 8, "steps": 4, "batch": 4, "learning_rate": 0.01}
NF4 = {"kind": "quantize", "scheme": "nf4"}
BASELINE = {"kind": "baseline", "dtype": "bfloat16"}
RECIPES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "baseline": (None, BASELINE),
    "nf4": ("baseline", NF4),
    "qlora": ("nf4", LORA),
}
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def plans(folder: Path, recipes: dict[str, tuple[str | None, dict[str, Any]]]) -> list[VariantPlan]:
    source = Source(uri=str(folder), licence="Apache-2.0")
    return [
        VariantPlan("tiny", name, "text-generation", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]


@pytest.fixture(scope="module")
def built(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    home = tmp_path_factory.mktemp("home")
    artifacts = build(plans(tiny_llama, RECIPES), Store(home), Catalog(home))
    return {name: Store(home).open(artifacts["tiny", name].manifest.key) for name in RECIPES}


def test_it_is_an_adapter_of_the_packed_base_which_it_leaves_alone(built: dict[str, Artifact]) -> None:
    import torch
    from safetensors.torch import load_file

    manifest, base = built["qlora"].manifest, built["nf4"].manifest
    assert (manifest.format, manifest.precision, manifest.parent_digest) == ("adapter", "nf4", base.digest)
    assert set(manifest.files) == {"model/adapter_config.json", "model/adapter_model.safetensors"}
    assert "bitsandbytes" in manifest.versions
    targets = ("k_proj", "o_proj", "q_proj", "v_proj")
    assert check_adapter(built["qlora"], base, max_rank=4) == Adapter(4, targets)
    weights = load_file(built["qlora"].model_path / "adapter_model.safetensors")
    assert len(weights) == 2 * 2 * 4
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert (weights[f"{Q}.lora_A.weight"].shape, weights[f"{Q}.lora_B.weight"].shape) == ((4, 64), (64, 4))
    assert all(tensor.abs().max() > 0 for tensor in weights.values()), "B begins as zeros: it has learned"


async def test_it_is_served_on_top_of_it_and_signs_for_itself(built: dict[str, Artifact], tmp_path: Path) -> None:
    engine = {"kind": "torch", "context": 128, "adapters": {"slots": 1, "rank": 8}}
    document = {
        "schema": 1,
        "server": {"port": free_port()},
        "models": {
            "tiny": {
                "task": "text-generation",
                "source": {"uri": "./tiny", "licence": "MIT"},
                "variants": {
                    "nf4": {"recipe": NF4, "engine": engine, "weight": 1},
                    "qlora": {"recipe": LORA, "parent": "nf4", "engine": engine},
                },
            }
        },
    }
    artifacts = {("tiny", name): built[name] for name in ("nf4", "qlora")}
    async with local(tmp_path, Stack.model_validate(document), artifacts) as served:
        assert len(served.deployer.engines) == 1, "a base with the adapter's settings is served by the same engine"
        answers = {}
        for name in ("nf4", "qlora"):
            body = {"model": f"tiny@{name}", "prompt": "w1 w2 w3", "max_tokens": 4, "temperature": 0, "logprobs": 1}
            answer = (await served.client.post("/v1/completions", json=body)).json()
            assert "error" not in answer, answer
            assert answer["system_fingerprint"] == built[name].manifest.digest
            answers[name] = answer["choices"][0]["logprobs"]["token_logprobs"]
        assert answers["nf4"] != answers["qlora"]


@pytest.mark.parametrize(
    ("more", "field", "says"),
    [
        (
            {"int8": ("baseline", {"kind": "quantize", "scheme": "w8a8"}), "lora": ("int8", LORA)},
            "models.tiny.variants.lora.parent",
            "no adapter is trained on w8a8 weights",
        ),
        (
            {**RECIPES, "merged": ("qlora", {"kind": "merge"})},
            "models.tiny.variants.merged.parent",
            "an adapter on nf4 weights is not merged",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    tmp_path: Path, more: dict[str, tuple[str | None, dict[str, Any]]], field: str, says: str
) -> None:
    """There is no such source: nothing has looked for it."""
    recipes = {"baseline": (None, BASELINE), **more}
    with pytest.raises(RecipeError, match=says) as refused:
        build(plans(tmp_path / "nowhere", recipes), Store(tmp_path), Catalog(tmp_path))
    assert refused.value.field == field
