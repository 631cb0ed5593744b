"""`keep: auto` of text models: a layer that rounding ruins is found and stays in 16 bits, in every scheme."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.planted import plant
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.recipes.source import Source
from variants.tasks import Tasks
from variants.tasks.task_file import TaskFile

pytestmark = pytest.mark.integration
RUINED = "model.layers.0.mlp.down_proj"
KEEP = {"kind": "quantize", "keep": "auto", "calibration": {"task": "own", "examples": 8}}
SCHEMES: dict[str, dict[str, Any]] = {
    "int8": {"scheme": "w8a8"},
    "gptq": {"scheme": "w8a8", "algorithm": "gptq"},
    "nf4": {"scheme": "nf4"},
    "int4": {"scheme": "w4a16", "group_size": 32, "most_loss": 0.3},
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    """Texts that count upwards, each by a step of its own."""
    file = tmp_path_factory.mktemp("data") / "rows.csv"
    with file.open("w") as rows:
        writer = csv.writer(rows)
        writer.writerow(["text"])
        writer.writerows(
            [" ".join(f"w{(start + step * (start % 3 + 1)) % 123}" for step in range(24))] for start in range(160)
        )
    definition = {"data": {"uri": str(file)}, "input": "{{ text }}", "scorer": "passage"}
    return Tasks({"own": TaskFile.model_validate(definition)})


@pytest.fixture(scope="module")
def trained(tiny_llama: Path, tasks: Tasks, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The tiny Llama after a second's lesson in counting, with a layer that rounding ruins."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("trained")
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_llama)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    texts = [str(example.input) for example in tasks.get("own").examples("calibration")]
    ids = torch.tensor(tokenizer(texts)["input_ids"])
    torch.manual_seed(0)
    descent = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        model(input_ids=ids, labels=ids).loss.backward()
        descent.step()
        descent.zero_grad()
    mlp = model.model.layers[0].mlp
    plant([mlp.gate_proj, mlp.up_proj], mlp.down_proj)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Source(uri=str(folder), licence="MIT")


def made(home: Path, source: Source, tasks: Tasks, recipe: dict[str, Any], said: list[str]) -> Artifact:
    plans = [
        VariantPlan(
            "tiny",
            "baseline",
            "text-generation",
            source,
            parse_recipe({"kind": "baseline", "dtype": "bfloat16"}),
            tasks=tasks,
        ),
        VariantPlan("tiny", "small", "text-generation", source, parse_recipe(recipe), "baseline", tasks=tasks),
    ]
    return build(plans, Store(home), Catalog(home), say=said.append)["tiny", "small"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_layer_that_rounding_ruins_is_kept(scheme: str, trained: Source, tasks: Tasks, tmp_path: Path) -> None:
    said: list[str] = []
    artifact = made(tmp_path, trained, tasks, {**KEEP, **SCHEMES[scheme]}, said)
    loss = artifact.manifest.loss
    assert loss is not None
    assert loss.kept is not None
    assert RUINED in loss.kept.layers
    assert loss.kept.weights_share < 0.5
    assert loss.variant < loss.kept.variant
    assert "in 16 bits" in said[0]
    assert RUINED in said[0]
    settings = json.loads((artifact.model_path / "config.json").read_text())["quantization_config"]
    assert RUINED in settings["llm_int8_skip_modules" if scheme == "nf4" else "ignore"]


def test_a_build_without_keep_says_what_it_loses_and_is_refused(trained: Source, tasks: Tasks, tmp_path: Path) -> None:
    recipe = {"kind": "quantize", "scheme": "w8a8", "smoothing": 0.5, "calibration": KEEP["calibration"]}
    with pytest.raises(RecipeError, match=r"its perplexity grows by .*its parent .*; \d+% more perplexity are allowed"):
        made(tmp_path, trained, tasks, {**recipe, "most_loss": 0.05}, [])
