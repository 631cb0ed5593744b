"""Sentence encoders whose folders list modules: all of them are computed, and any other is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.engines.openvino.text_encoder import OpenVinoEmbedder
from tests.integration.serve.engines.engine import running, write_manifest
from tests.integration.serve.engines.tiny_encoder import make_encoder
from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.errors import SourceError
from variants.methods.base import MethodResult
from variants.methods.registry import find

pytestmark = pytest.mark.integration
BASELINE: dict[str, object] = {"kind": "baseline", "dtype": "float32"}
TEXTS = ["w1 w2", "w3 w4 w5 w6 w7 w8 w9"]
FORMER = "sentence_transformers.models."
TODAY = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
}
TANH = "torch.nn.modules.activation.Tanh"


def listed(folder: Path, pooling: dict[str, Any] | None, *kinds: str, **dense: Any) -> Path:
    """The tiny BERT with a `modules.json` of these kinds (names alone are of the first versions), and the settings of
    its pooling and of its dense layers."""
    make_encoder(folder, None)
    entries = []
    for place, kind in enumerate(kinds):
        name = kind.rpartition(".")[2]
        path = "" if name == "Transformer" else f"{place}_{name}"
        entries.append({"idx": place, "name": str(place), "path": path, "type": kind if "." in kind else FORMER + kind})
        if path:
            (folder / path).mkdir()
        if name == "Pooling" and pooling is not None:
            (folder / path / "config.json").write_text(json.dumps(pooling))
        if name == "Dense":
            write_dense(folder / path, **dense)
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


def write_dense(folder: Path, pickled: bool = False, **settings: Any) -> None:
    import torch
    from safetensors.torch import save_file

    written = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": TANH} | settings
    (folder / "config.json").write_text(json.dumps(written))
    torch.manual_seed(3)
    weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")


def make(source: Path, out: Path) -> MethodResult:
    return find("feature-extraction", parse_recipe(BASELINE)).run(job(BASELINE, out, source))


def embedded(folder: Path, texts: list[str] = TEXTS) -> np.ndarray:
    model = OpenVinoEmbedder(folder, "f32", 1)
    return model.embed(model.encode(texts))


def states(source: Path, text: str) -> Any:
    """Hidden states [tokens, width] by transformers."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with torch.no_grad():
        inputs = AutoTokenizer.from_pretrained(source)(text, return_tensors="pt")
        return AutoModel.from_pretrained(source).eval()(**inputs).last_hidden_state[0]


@pytest.mark.parametrize(
    ("pooling", "is_cls"),
    [
        ({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, True),
        ({"embedding_dimension": 32, "pooling_mode": "cls", "include_prompt": True}, True),
        ({"embedding_dimension": 32, "pooling_mode": ["cls"]}, True),
        ({"embedding_dimension": 32, "pooling_mode": "mean"}, False),
        ({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}, False),
    ],
)
def test_both_spellings_of_a_pooling_are_read(tmp_path: Path, pooling: dict[str, Any], is_cls: bool) -> None:
    source = listed(tmp_path / "source", pooling, "Transformer", "Pooling", "Normalize")
    made = make(source, tmp_path / "model")
    hidden = [states(source, text) for text in TEXTS]
    wanted = [(each[0] if is_cls else each.mean(0)) for each in hidden]
    wanted = [(each / each.norm()).numpy() for each in wanted]
    np.testing.assert_allclose(embedded(tmp_path / "model"), np.stack(wanted), atol=1e-5)
    assert "guess" not in made.note


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("today", [False, True])
def test_a_dense_layer_is_computed_by_the_engine(tmp_path: Path, today: bool, pickled: bool) -> None:
    import torch

    kinds = ["Transformer", "Pooling", "Normalize", "Dense"]
    names = [TODAY[kind] for kind in kinds] if today else kinds
    source = listed(tmp_path / "source", {"pooling_mode": "cls"}, *names, pickled=pickled)
    made = make(source, tmp_path / "artifact" / "model")
    assert "3_Dense" in made.note
    torch.manual_seed(3)
    weight, bias = torch.randn(8, 32), torch.randn(8)
    wanted = []
    for text in TEXTS:
        first = states(source, text)[0]
        vector = torch.tanh(weight @ (first / first.norm()) + bias)
        wanted.append((vector / vector.norm()).numpy())
    np.testing.assert_allclose(embedded(tmp_path / "artifact" / "model"), np.stack(wanted), atol=1e-5)
    if today and not pickled:
        write_manifest(tmp_path / "artifact", task="feature-extraction", format="openvino")
        with running("openvino.text_encoder", "--artifact", str(tmp_path / "artifact"), "--name", "m@v") as engine:
            status, answer = engine.post("/v1/embeddings", {"model": "m@v", "input": TEXTS})
        assert status == 200
        np.testing.assert_allclose([row["embedding"] for row in answer["data"]], np.stack(wanted), atol=1e-5)


def test_a_guess_is_noted(tmp_path: Path) -> None:
    made = make(make_encoder(tmp_path / "source", None), tmp_path / "model")
    assert made.note == "weights as published; mean pooling (a guess: the folder names none), length 1"
    empty = make_encoder(tmp_path / "empty", {})
    assert "a guess" in make(empty, tmp_path / "other").note


@pytest.mark.parametrize(
    ("pooling", "says"),
    [
        ({"pooling_mode": "lasttoken"}, "pools by lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, "pools by cls, mean"),
        ({"pooling_mode": 3}, "pools by 3"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "pools by cls, mean"),
        ({"pooling_mode_weightedmean_tokens": True}, "pools by pooling_mode_weightedmean_tokens"),
        (None, r"1_Pooling/config\.json is missing"),
    ],
)
def test_any_other_pooling_is_refused(tmp_path: Path, pooling: dict[str, Any] | None, says: str) -> None:
    source = listed(tmp_path / "source", pooling, "Transformer", "Pooling")
    with pytest.raises(SourceError, match=says) as refused:
        make(source, tmp_path / "model")
    assert refused.value.field == "source.uri"
    assert refused.value.mend
    assert not list((tmp_path / "model").iterdir())


@pytest.mark.parametrize(
    ("kinds", "dense", "says"),
    [
        (("Transformer", "WeightedLayerPooling", "Pooling"), {}, "WeightedLayerPooling"),
        (("Transformer", "Pooling", "LSTM"), {}, "LSTM"),
        (("Transformer",), {}, "lists Transformer"),
        (("Transformer", "Pooling", "custom_st.Dense"), {}, r"custom_st\.Dense"),
        (("Transformer", "Pooling", "Dense"), {"activation_function": "my.Gelu"}, r"activation my\.Gelu"),
        (("Transformer", "Pooling", "Dense"), {"activation_function": "torch.nn.MultiheadAttention"}, "activation"),
        (("Transformer", "Pooling", "Dense"), {"use_residual": True}, "use_residual"),
        (("Transformer", "Pooling", "Dense"), {"module_input_name": "token_embeddings"}, "module_input_name"),
        (("Transformer", "Pooling", "Dense"), {"in_features": 64}, "takes 64 numbers"),
        (("Transformer", "Pooling", "Dense"), {"out_features": 9}, "weights in 2_Dense are not readable"),
    ],
)
def test_any_other_module_is_refused(tmp_path: Path, kinds: tuple[str, ...], dense: dict[str, Any], says: str) -> None:
    source = listed(tmp_path / "source", {"pooling_mode": "mean"}, *kinds, **dense)
    with pytest.raises(SourceError, match=says) as refused:
        make(source, tmp_path / "model")
    assert (refused.value.field, bool(refused.value.mend)) == ("source.uri", True)


@pytest.mark.parametrize("document", ["{}", "[{}]", "not json", '[{"type": 3}]'])
def test_a_file_that_lists_no_modules_is_refused(tmp_path: Path, document: str) -> None:
    source = make_encoder(tmp_path / "source")
    (source / "modules.json").write_text(document)
    with pytest.raises(SourceError, match=r"modules\.json"):
        make(source, tmp_path / "model")


def test_a_module_outside_the_source_is_not_read(tmp_path: Path) -> None:
    source = listed(tmp_path / "source", {"pooling_mode": "mean"}, "Transformer", "Pooling")
    entries = json.loads((source / "modules.json").read_text())
    entries[1]["path"] = "../other"
    (source / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(SourceError, match=r"names '\.\./other'"):
        make(source, tmp_path / "model")


def test_an_encoder_in_a_folder_of_its_own_in_lower_case(tmp_path: Path) -> None:
    source = listed(tmp_path / "source", {"pooling_mode": "mean"}, "Transformer", "Pooling")
    entries = json.loads((source / "modules.json").read_text())
    entries[0]["path"] = "0_Transformer"
    inner = source / "0_Transformer"
    inner.mkdir()
    for file in [each for each in source.iterdir() if each.is_file()]:
        shutil.move(file, inner / file.name)
    (source / "modules.json").write_text(json.dumps(entries))
    (inner / "sentence_bert_config.json").unlink()
    (inner / "sentence_roberta_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": True}))
    make(source, tmp_path / "model")
    model = OpenVinoEmbedder(tmp_path / "model", "f32", 1)
    assert model.context == 12
    assert model.encode(["W1 W2"]) == model.encode(["w1 w2"])


def test_an_encoder_with_a_decoder_and_one_without_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tests.integration.variants.tiny_makes import sentence_tokens, write

    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    bart = write(tmp_path / "bart", "BartModel", sentence_tokens(), max_position_embeddings=64, **sizes)
    with pytest.raises(SourceError, match=r"an encoder with a decoder \(bart\)"):
        make(bart, tmp_path / "model")
    part = make_encoder(tmp_path / "part")
    weights = load_file(part / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"no weights for encoder\.layer\.1\.output\.dense\.weight"):
        make(part, tmp_path / "other")
