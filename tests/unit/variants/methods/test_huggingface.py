"""Folders that are not whole: one SourceError that names file and tensor, for every reader of Hugging Face folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from loadtest.benchmarks.architectures.tiny import ARCHITECTURES, write
from variants.errors import SourceError
from variants.methods.detection.huggingface import load as load_detector
from variants.methods.detection.huggingface import read_settings
from variants.methods.embedding.baseline import load as load_encoder
from variants.methods.image_classification.model import load_huggingface as load_image_classifier
from variants.methods.text_classification.model import load as load_text_classifier
from variants.methods.text_generation.baseline import check_generates
from variants.methods.text_generation.baseline import load as load_text_model

LABELS = ("left", "right")
Load = Callable[[Path], Any]


def load_in_float32(folder: Path) -> Any:
    return load_text_model(folder, "float32")


LOADERS: dict[str, Load] = {
    "Llama": load_in_float32,
    "BERT": load_text_classifier,
    "BERT encoder": load_encoder,
    "ViT": load_image_classifier,
    "YOLOS": load_detector,
}
LAYERS = {
    "Llama": "model.layers",
    "BERT": "bert.encoder.layer",
    "BERT encoder": "encoder.layer",
    "ViT": "vit",
    "YOLOS": "vit",
}
HEADS = {
    "Llama": "lm_head",
    "BERT": "classifier",
    "BERT encoder": "embeddings",
    "ViT": "classifier",
    "YOLOS": "class_labels_classifier",
}
EACH = pytest.mark.parametrize("name", LOADERS)


def make(name: str, folder: Path) -> Path:
    return write(next(each for each in ARCHITECTURES if each.name == name), folder)


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def weigh(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without(folder: Path, part: str) -> None:
    def drop(weights: dict[str, Any]) -> None:
        names = [name for name in weights if name.startswith(part)]
        assert names
        for name in names:
            del weights[name]

    weigh(folder, drop)


def refusal(load: Load, folder: Path) -> str:
    with pytest.raises(SourceError) as refused:
        load(folder)
    assert refused.value.field == "source.uri"
    assert "\n" not in str(refused.value)
    return str(refused.value)


@EACH
def test_a_head_without_weights_is_refused(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    without(folder, HEADS[name])
    assert f"model.safetensors has no weights for {HEADS[name]}." in refusal(LOADERS[name], folder)


@EACH
def test_a_layer_more_than_the_weights_have_is_refused(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    configure(folder, num_hidden_layers=3)
    said = refusal(LOADERS[name], folder)
    assert f"model.safetensors has no weights for {LAYERS[name]}" in said
    assert ".2." in said
    assert "more" in said


@EACH
def test_a_layer_less_than_the_weights_have_is_refused(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    configure(folder, num_hidden_layers=1)
    said = refusal(LOADERS[name], folder)
    assert "model.safetensors has weights that its config.json has no place for" in said
    assert ".1." in said


@EACH
def test_weights_of_another_shape_are_refused_by_name(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    wider = 2 * json.loads((folder / "config.json").read_text())["intermediate_size"]
    configure(folder, intermediate_size=wider)
    said = refusal(LOADERS[name], folder)
    assert f"model.safetensors has {LAYERS[name]}" in said
    assert str(wider) in said.partition("config.json says [")[2]


@EACH
@pytest.mark.parametrize("kept", [lambda whole: whole[:-100], lambda _: b"xx", lambda _: b""])
def test_a_file_that_is_not_whole_is_named(name: str, kept: Callable[[bytes], bytes], tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(kept(path.read_bytes()))
    assert "model.safetensors is no safetensors file" in refusal(LOADERS[name], folder)


@EACH
def test_a_pickle_that_is_not_whole_is_refused(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    assert "transformers cannot read a" in refusal(LOADERS[name], folder)


@pytest.mark.parametrize("name", ["Llama", "BERT", "BERT encoder"])
def test_a_tokenizer_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Nothing"}}')
    assert "transformers cannot read" in refusal(LOADERS[name], folder)


@pytest.mark.parametrize("name", ["Llama", "BERT", "BERT encoder"])
def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    configure(folder, vocab_size=100)

    def cut(weights: dict[str, Any]) -> None:
        for part, tensor in weights.items():
            if "embed_tokens" in part or "word_embeddings" in part or "lm_head" in part:
                weights[part] = tensor[:100].clone()

    weigh(folder, cut)
    said = refusal(LOADERS[name], folder)
    assert "the tokenizer in " in said
    assert "config.json says 100" in said


def test_an_added_token_without_a_row_is_refused_where_a_chat_uses_it(tmp_path: Path) -> None:
    folder = make("Llama", tmp_path / "model")
    model, tokenizer = load_text_model(folder, "float32")
    tokenizer.add_tokens(["<turn>"])
    check_generates(model, tokenizer)
    tokenizer.chat_template = "<turn>{{ messages[0]['content'] }}"
    with pytest.raises(SourceError, match=r"the tokenizer writes '<turn>' as \d+, of \d+ ids"):
        check_generates(model, tokenizer)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = make("Llama", tmp_path / "model")
    configure(folder, model_type="bert", architectures=["BertModel"])
    assert "model.safetensors has no weights for bert." in refusal(load_in_float32, folder)


def test_tensors_of_a_like_architecture_are_not_dropped(tmp_path: Path) -> None:
    folder = make("Qwen3", tmp_path / "model")
    configure(folder, model_type="llama", architectures=["LlamaForCausalLM"])
    assert "no place for: model.layers.0.self_attn.k_norm.weight" in refusal(load_in_float32, folder)


def test_a_tied_head_and_old_buffers_are_not_missing(tmp_path: Path) -> None:
    import torch

    folder = make("Llama", tmp_path / "tied")
    configure(folder, tie_word_embeddings=True)
    without(folder, "lm_head")
    weigh(folder, lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}))
    load_in_float32(folder)
    masked = make("GPT-2", tmp_path / "masked")
    old = {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8), "transformer.h.0.attn.masked_bias": torch.ones(1)}
    weigh(masked, lambda weights: weights.update(old))
    load_in_float32(masked)


def test_batch_normalisation_needs_its_statistics_but_not_their_count(tmp_path: Path) -> None:
    folder = make("ResNet", tmp_path / "model")
    counts = [name for name in load_file(folder / "model.safetensors") if name.endswith("num_batches_tracked")]
    for name in counts:
        without(folder, name)
    load_image_classifier(folder)
    without(folder, counts[0].replace("num_batches_tracked", "running_mean"))
    assert "running_mean" in refusal(load_image_classifier, folder)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("BERT", lambda folder: load_text_classifier(folder, LABELS)),
        ("BERT encoder", lambda folder: load_text_classifier(folder, LABELS)),
        ("ViT", lambda folder: load_image_classifier(folder, LABELS)),
    ],
)
def test_a_new_head_needs_the_weights_below_it_alone(name: str, load: Load, tmp_path: Path) -> None:
    folder = make(name, tmp_path / "model")
    load(folder)
    without(folder, "pooler" if name == "BERT encoder" else HEADS[name])
    model, _ = load(folder)
    assert model.config.num_labels == len(LABELS)
    configure(folder, num_hidden_layers=3)
    assert "has no weights for" in refusal(load, folder)
    configure(folder, num_hidden_layers=2, intermediate_size=64)
    assert "config.json says [64" in refusal(load, folder)


def test_a_pooler_is_not_needed_for_embeddings(tmp_path: Path) -> None:
    folder = make("BERT encoder", tmp_path / "model")
    without(folder, "pooler")
    load_encoder(folder)


def prepare(folder: Path, document: Any) -> Path:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | document if isinstance(document, dict) else document))
    return folder


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"image_mean": None},
        {"size": {"height": None, "width": 8}},
        {"rescale_factor": 0},
        {"rescale_factor": "1/255"},
    ],
)
def test_an_image_processor_that_cannot_be_followed_is_refused(document: Any, tmp_path: Path) -> None:
    folder = prepare(make("ViT", tmp_path / "model"), document)
    assert "processor" in refusal(load_image_classifier, folder)
    assert "preprocessor_config.json is missing or not readable" in refusal(read_settings, folder)
