import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.recipes import parse_recipe
from variants.artifacts.adapter import Adapter, check_adapter
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, entries
from variants.errors import IntegrityError, RecipeError
from variants.recipes.source import Source

LORA = {"kind": "lora", "task": "r8", "rank": 8, "alpha": 16, "steps": 10}
BASE = "a" * 64
CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "m@baseline", "r": 8, "target_modules": ["q_proj", "k_proj"]}
SHAPES = {"q_proj.lora_A.weight": [8, 64], "q_proj.lora_B.weight": [32, 8]}


def safetensors(shapes: dict[str, list[int]]) -> bytes:
    """A safetensors file of zeros, 2 bytes each."""
    tensors: dict[str, object] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        tensors[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def manifest(folder: Path, form: str, variant: str, parent: str | None, parent_digest: str | None) -> Manifest:
    files = entries(folder)
    return Manifest.model_validate(
        {
            "key": "0" * 64, "digest": Manifest.digest_of_files(files), "model": "m", "variant": variant,
            "task": "text-generation", "method": "test/1", "precision": "bf16", "recipe": parse_recipe(LORA),
            "seed": 0, "parent": parent, "parent_digest": parent_digest,
            "sources": (Source(uri="/nowhere", licence="MIT"),), "files": files, "bytes": 1, "versions": {},
            "created": datetime.now(UTC), "format": form, "labels": None, "preprocess": None, "note": "a test's",
        }
    )  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Manifest:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "weights").write_text("weights")
    return manifest(folder, "huggingface", "baseline", None, None)


@pytest.fixture
def adapter(tmp_path: Path, base: Manifest) -> Callable[..., Artifact]:
    def make(
        config: object = CONFIG, weights: bytes = safetensors(SHAPES), form: str = "adapter", parent: str | None = None
    ) -> Artifact:
        folder = tmp_path / "lora"
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "adapter_config.json").write_text(json.dumps(config))
        (folder / "model" / "adapter_model.safetensors").write_bytes(weights)
        return Artifact(folder, manifest(folder, form, "lora", "baseline", parent or base.digest))

    return make


def test_what_fits_its_base_is_described(adapter: Callable[..., Artifact], base: Manifest) -> None:
    assert check_adapter(adapter(), base, max_rank=8) == Adapter(8, ("k_proj", "q_proj"))


def test_another_base_is_refused_by_name_and_digest(adapter: Callable[..., Artifact], base: Manifest) -> None:
    with pytest.raises(RecipeError) as refused:
        check_adapter(adapter(parent=BASE), base)
    assert f"m@baseline (aaaaaaaa), not for m@baseline ({base.digest[:8]})" in str(refused.value)
    assert refused.value.field == "models.m.variants.lora.parent"


def test_a_rank_above_the_limit_is_refused(adapter: Callable[..., Artifact], base: Manifest) -> None:
    with pytest.raises(RecipeError, match="rank 8 is above the engine's limit of 4") as refused:
        check_adapter(adapter(), base, max_rank=4)
    assert refused.value.field == "models.m.variants.lora.recipe.rank"


def test_layers_that_the_engine_takes_no_adapters_on_are_refused(
    adapter: Callable[..., Artifact], base: Manifest
) -> None:
    artifact = adapter()
    assert check_adapter(artifact, base, modules=("q_proj", "k_proj", "v_proj"))
    with pytest.raises(RecipeError, match=r"adapts k_proj, where its engine takes adapters on q_proj alone") as refused:
        check_adapter(artifact, base, modules=("q_proj",))
    assert refused.value.mend == "modules: [k_proj, q_proj]"


def test_what_is_no_adapter_is_refused(adapter: Callable[..., Artifact], base: Manifest) -> None:
    with pytest.raises(RecipeError, match="is no adapter but huggingface"):
        check_adapter(adapter(form="huggingface"), base)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(adapter: Callable[..., Artifact], base: Manifest, name: str) -> None:
    artifact = adapter()
    (artifact.model_path / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        check_adapter(artifact, base)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ([], "not what peft writes"),
        ({**CONFIG, "r": "many"}, "not what peft writes"),
        ({**CONFIG, "peft_type": "IA3"}, "IA3 is not LORA"),
        ({**CONFIG, "base_model_name_or_path": "/somewhere/model"}, "path of another machine"),
        ({**CONFIG, "r": 16}, r"ranks \[8\], the configuration says 16"),
    ],
)
def test_a_wrong_configuration_is_refused(
    adapter: Callable[..., Artifact], base: Manifest, config: object, says: str
) -> None:
    with pytest.raises(IntegrityError, match=says):
        check_adapter(adapter(config), base)


@pytest.mark.parametrize(
    "weights", [b"", b"\xff" * 100, safetensors(SHAPES)[:20], safetensors({"q.lora_B.weight": [8]})]
)
def test_weights_that_are_not_safetensors_are_refused(
    adapter: Callable[..., Artifact], base: Manifest, weights: bytes
) -> None:
    with pytest.raises(IntegrityError, match="is not a safetensors file"):
        check_adapter(adapter(weights=weights), base)
