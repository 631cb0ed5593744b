"""What the files of a model say, on folders with real headers and no useful weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import save_file

from serve.init.model import read_model
from variants.errors import SourceError

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_hidden_layers": 3, "vocab_size": 100, "max_position_embeddings": 512,
}  # fmt: skip
SHAPES = {"embed.weight": (100, 64), "layer.q.weight": (64, 64), "layer.down.weight": (64, 96), "norm.weight": (64,)}


def folder_of(folder: Path, config: dict[str, Any], shapes: dict[str, tuple[int, ...]] = SHAPES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


def test_a_text_models_sizes_come_from_its_configuration_and_its_headers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", LLAMA)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    model = read_model(folder)
    assert (model.task, model.name, model.positions, model.licence) == ("text-generation", "mine", 512, "mit")
    assert model.parameters == 100 * 64 + 64 * 64 + 64 * 96 + 64
    assert model.widths == {64, 96}, "the vocabulary's table is no layer"
    assert model.token_bytes == 2 * 2 * 3 * 32 * 1, "keys and values, 2 bytes, 3 layers, one head of 32"
    assert model.fixed is None


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("GPT2LMHeadModel", "text-generation"),
        ("BertForSequenceClassification", "text-classification"),
        ("ViTForImageClassification", "image-classification"),
        ("YolosForObjectDetection", "object-detection"),
        ("BertModel", "feature-extraction"),
        ("BertForMaskedLM", "feature-extraction"),
    ],
)
def test_the_class_of_a_model_is_its_task(architecture: str, task: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"architectures": [architecture]})
    (folder / "tokenizer.json").write_text("{}")
    assert read_model(folder).task == task


def test_a_model_of_images_is_no_encoder_of_texts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"architectures": ["CLIPModel"]})
    with pytest.raises(SourceError, match="CLIPModel, and no encoder of texts"):
        read_model(folder)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    with pytest.raises(SourceError, match="CLIPModel, and no encoder of texts"):
        read_model(folder)


def test_labels_at_odd_positions_are_refused(tmp_path: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"first": "a"}}
    with pytest.raises(SourceError, match=r"id2label in config\.json has the position 'first'"):
        read_model(folder_of(tmp_path, config))


def test_a_folder_of_sentence_transformers_is_an_encoder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"architectures": ["BertForSequenceClassification"]})
    (folder / "modules.json").write_text("[]")
    assert read_model(folder).is_encoder


@pytest.mark.parametrize(
    "config", [{"model_type": "gpt2"}, {"model_type": "mixtral", "num_local_experts": 8}], ids=["gpt2", "mixtral"]
)
def test_a_model_without_linear_layers_is_told(config: dict[str, Any], tmp_path: Path) -> None:
    assert read_model(folder_of(tmp_path, LLAMA | config)).fixed


def test_a_gguf_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_embedding_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv([1, 1, 0])  # some architectures have one for each layer
    writer.add_context_length(512)
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((64, 96), np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((100, 64), np.float32))
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    model = read_model(path)
    assert (model.task, model.positions, model.widths) == ("text-generation", 512, {96})
    assert (model.parameters, model.token_bytes) == (64 * 96 + 100 * 64, 2 * 2 * 3 * 32)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("adapter_config.json", {}, "is an adapter .*kind adapter"),
        ("model_index.json", {}, "is a None, which is not served"),
        ("other.json", {}, r"has no config\.json that can be read"),
        ("x.json", {"architectures": ["WhisperForSpeech"]}, "is a WhisperForSpeech, which is not served"),
        ("x.json", LLAMA | {"quantization_config": {"quant_method": "gptq"}}, "compressed already .*kind published"),
    ],
)
def test_a_folder_that_cannot_be_served_is_refused(
    name: str, config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder_of(tmp_path, config)
    (tmp_path / name).write_text("{}")
    with pytest.raises(SourceError, match=said):
        read_model(tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    for name, said in (("a.zip", "no model that init knows"), ("a.gguf", "no GGUF file"), ("a.onnx", "no ONNX model")):
        path = tmp_path / name
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(SourceError, match=said):
            read_model(path)


def test_a_truncated_weights_file_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, LLAMA)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(SourceError, match=r"model\.safetensors is no safetensors file"):
        read_model(folder)


def test_a_pipeline_is_told_by_its_index(tmp_path: Path) -> None:
    index = {
        "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }  # fmt: skip
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    folder_of(tmp_path / "unet", {}, {"conv": (8, 4, 3, 3)})
    (tmp_path / "unet" / "model.fp16.safetensors").write_bytes(b"not read")
    folder_of(tmp_path / "safety_checker", {}, {"conv": (99, 99)})
    model = read_model(tmp_path)
    assert (model.task, model.parameters, model.licence) == ("image-generation", 8 * 4 * 3 * 3, "mit")
    assert "StableDiffusionPipeline" in model.why
