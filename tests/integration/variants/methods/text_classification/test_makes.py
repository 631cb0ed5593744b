"""Classifiers that do not read their class off the first token: RoBERTa's positions, decoders, and BART."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.serve.engines.engine import running, write_manifest
from tests.integration.variants.conftest import job
from tests.integration.variants.tiny_makes import END, LABELS, SIZES, byte_tokens, sentence_tokens, write
from tests.support.recipes import parse_recipe
from variants.errors import RecipeError, SourceError
from variants.methods.registry import find
from variants.recipes.recipe import LoRA

pytestmark = pytest.mark.integration
RECIPE: dict[str, object] = {"kind": "baseline", "dtype": "float32"}
TEXTS = ["abc", "abcdefgh", "a b c d e f g h i j k"]


def roberta(folder: Path) -> Path:
    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = sizes | {"max_position_embeddings": 514, "type_vocab_size": 1} | ends | LABELS
    return write(folder, "RobertaForSequenceClassification", sentence_tokens(), **config)


def llama(folder: Path) -> Path:
    names: dict[str, Any] = {"pad_token": "<pad>", "bos_token": "<s>"}
    tokens = byte_tokens("<unk>", "<s>", "<pad>", model_max_length=512, **names)
    ends = {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 1}
    return write(folder, "LlamaForSequenceClassification", tokens, **ends, **SIZES, **LABELS)


def gpt2(folder: Path) -> Path:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 512}
    return write(folder, "GPT2ForSequenceClassification", byte_tokens(END, eos_token=END), **sizes, **LABELS)


def bart(folder: Path) -> Path:
    sizes = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 256}
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = sizes | {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64} | ends | LABELS
    return write(folder, "BartForSequenceClassification", sentence_tokens(), **config)


def by_transformers(folder: Path, texts: list[str]) -> np.ndarray:
    """Probabilities, one text at a time, so that nothing is padded."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    with torch.no_grad():
        for text in texts:
            encoded = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            rows.append(model(**encoded).logits[0].softmax(0).numpy())
    return np.stack(rows)


@pytest.mark.parametrize(
    ("write_model", "context", "around"),
    [(roberta, 512, 2), (llama, 512, 0), (gpt2, 512, 0), (bart, 256, 2)],
)
def test_padded_batches_get_the_scores_of_texts_alone(
    tmp_path: Path, write_model: Callable[[Path], Path], context: int, around: int
) -> None:
    source = write_model(tmp_path / "source")
    folder = tmp_path / "artifact"
    made = find("text-classification", parse_recipe(RECIPE)).run(job(RECIPE, folder / "model", source))
    write_manifest(folder, task="text-classification", format="openvino", labels=made.labels)
    longest = "a" * (context - around)
    texts = [*TEXTS, longest, *(["a</s>b"] if write_model is bart else [])]
    with running("openvino.text_classifier", "--artifact", str(folder), "--name", "m@v") as engine:
        tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        status, answer = engine.post("/v2/models/m@v/infer", {"inputs": [tensor]})
        refused = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [longest + "a"]}
        too_long, says = engine.post("/v2/models/m@v/infer", {"inputs": [refused]})
    assert (status, too_long) == (200, 400)
    assert f"{context + 1} tokens" in says["error"]
    scores = np.array(answer["outputs"][0]["data"]).reshape(len(texts), 3)
    np.testing.assert_allclose(scores, by_transformers(source, texts), atol=1e-5)


def test_a_folder_that_names_no_longest_text_is_refused(tmp_path: Path) -> None:
    ends = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    sizes = {"hidden_size": 64, "n_layer": 1, "n_head": 2}
    source = write(
        tmp_path / "source",
        "BloomForSequenceClassification",
        byte_tokens(END, eos_token=END),
        **ends,
        **sizes,
        **LABELS,
    )
    with pytest.raises(SourceError, match=r"names no longest text.*model_max_length"):
        find("text-classification", parse_recipe(RECIPE)).run(job(RECIPE, tmp_path / "model", source))


def test_an_answer_that_padding_changes_is_refused(tmp_path: Path) -> None:
    """ConvBERT's convolutions see the padding behind a text."""
    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    config = sizes | {"pad_token_id": 1, "initializer_range": 0.5}
    source = write(tmp_path / "source", "ConvBertForSequenceClassification", sentence_tokens(), **config)
    with pytest.raises(SourceError, match=r"differs from the text alone|cannot convert"):
        find("text-classification", parse_recipe(RECIPE)).run(job(RECIPE, tmp_path / "model", source))


def test_gpt2_classifiers_are_made_sparse_and_take_no_adapter(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    from variants.methods.text_classification.lora import adapted
    from variants.methods.text_classification.sparsify import zero_smallest

    model: Any = AutoModelForSequenceClassification.from_pretrained(gpt2(tmp_path / "source"))
    recipe = parse_recipe({"kind": "lora", "task": "r8_topics", "rank": 4, "alpha": 8, "steps": 2, "batch": 16})
    assert isinstance(recipe, LoRA)
    with pytest.raises(RecipeError, match="a gpt2 has no linear layer"):
        adapted(model, recipe)
    # 2 layers of 12 x 64 x 64 weights
    assert zero_smallest(model, 0.25) == (24_576, 98_304)
    assert float((model.transformer.h[1].mlp.c_fc.weight == 0).float().mean()) == 0.25


def test_a_model_that_int8_would_not_change_is_refused() -> None:
    import openvino as ov
    from openvino import opset13 as ops

    from variants.methods.nncf_quantize import quantized

    given = ops.parameter([1, 8], np.float32)
    plain = ov.Model([ops.softmax(given, 1)], [given])
    with pytest.raises(RecipeError, match="no layer that is computed in int8"):
        quantized(plain, [np.zeros((1, 8), np.float32)])
