"""Text classifiers from a tiny BERT, through the builder: what is stored, in which shapes, and that it computes it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from serve.engines.openvino.text_encoder import OpenVinoEmbedder
from tests.integration.serve.engines.tiny_encoder import make_classifier, make_encoder
from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError
from variants.home import home, sources_of
from variants.methods.base import MethodResult
from variants.methods.registry import find
from variants.methods.text_classification import model as text_classifier
from variants.methods.text_classification.fitting import Encoded, drawn
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
TASK = "text-classification"
TOPICS = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
BASELINE = {"kind": "baseline", "dtype": "float32"}
TRAIN = {"kind": "train-text", "task": "r8_topics", "examples": 32, "epochs": 2, "batch": 16, "tokens": 24}
RECOVERY = {"task": "r8_topics", "examples": 32, "epochs": 1, "batch": 16}
HEADS = {"kind": "prune", "structure": "heads", "sparsity": 0.5, "recovery": RECOVERY}
MAGNITUDE = {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.25}
INT8 = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "r8_topics", "examples": 16}}
DYNAMIC = {"kind": "quantize", "scheme": "int8-dynamic"}
BF16 = {"kind": "quantize", "scheme": "bf16"}
LORA = {"kind": "lora", "task": "r8_topics", "rank": 4, "alpha": 8, "steps": 2, "batch": 16, "learning_rate": 0.01}
TEXTS = [" ".join(f"w{(7 * i + j) % 60}" for j in range(3 + i)) for i in range(12)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def built(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("home")
    (folder / "sources").symlink_to(sources_of(home()))
    recipes: dict[str, tuple[str | None, dict[str, Any]]] = {
        "baseline": (None, TRAIN), "int8": ("baseline", INT8), "dynamic": ("baseline", DYNAMIC),
        "bf16": ("baseline", BF16), "pruned": ("baseline", HEADS), "sparse": ("baseline", MAGNITUDE),
        "lora": (None, LORA), "pruned-again": ("pruned", HEADS),
    }  # fmt: skip
    source = Source(uri=str(encoder), licence="MIT")
    plans = [
        VariantPlan("topics", name, "text-classification", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]
    artifacts = build(plans, Store(folder), Catalog(folder))
    return {name: artifacts["topics", name] for name in recipes}


def logits(folder: Path, texts: list[str], precision: str = "f32") -> np.ndarray:
    model = OpenVinoEmbedder(folder, precision, 1)
    return model.embed(model.encode(texts))


def stored(artifact: Artifact) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(artifact.model_path / text_classifier.WEIGHTS)


def by_torch(artifact: Artifact, texts: list[str]) -> np.ndarray:
    import torch

    model, tokenizer = text_classifier.of_artifact(artifact)
    with torch.no_grad():
        encoded = [tokenizer(text, return_tensors="pt") for text in texts]
        rows = [text_classifier.logits(model, each["input_ids"], each["attention_mask"]).numpy() for each in encoded]
    return np.concatenate(rows)


def make(recipe: Mapping[str, object], out: Path, source: Path | None = None) -> MethodResult:
    return find(TASK, parse_recipe(recipe)).run(job(recipe, out, source))


def test_a_published_classifier_keeps_its_labels_and_its_answers(published: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = make(BASELINE, tmp_path / "model", published)
    assert (made.precision, made.format, made.labels) == ("f32", "openvino", ("cat", "dog", "fox"))
    model = AutoModelForSequenceClassification.from_pretrained(published).eval()
    tokenizer = AutoTokenizer.from_pretrained(published)
    with torch.no_grad():
        theirs = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in TEXTS]
    np.testing.assert_allclose(logits(tmp_path / "model", TEXTS), theirs, atol=1e-5)
    assert json.loads((tmp_path / "model" / "tokenizer_config.json").read_bytes())["model_max_length"] == 64


def test_what_is_no_classifier_is_refused(encoder: Path, published: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no weights for classifier\.bias.*train-text"):
        make(BASELINE, tmp_path / "headless", encoder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="cannot read a text classifier"):
        make(BASELINE, tmp_path / "nothing", tmp_path / "empty")
    one = make_classifier(tmp_path / "one", ("score",))
    with pytest.raises(SourceError, match="does not choose one of several labels"):
        make(BASELINE, tmp_path / "regression", one)
    with pytest.raises(RecipeError, match="executed in float32"):
        make(BASELINE | {"dtype": "bfloat16"}, tmp_path / "bf16", published)


@pytest.mark.parametrize(
    ("recipe", "field", "says"),
    [
        (TRAIN | {"examples": 4885}, "recipe.examples", "r8_topics has 4884 examples in its train split, not 4885"),
        (LORA | {"steps": 400}, "recipe.steps", "r8_topics has 4884 examples in its train split, not 6400"),
    ],
)
def test_training_on_what_is_not_there_is_refused(
    encoder: Path, tmp_path: Path, recipe: dict[str, object], field: str, says: str
) -> None:
    out = tmp_path / "model"
    (tmp_path / "home").symlink_to(home())
    with pytest.raises(RecipeError, match=re.escape(says)) as refused:
        make(recipe, out, encoder)
    assert refused.value.field == field
    assert not list(out.iterdir())


@pytest.mark.parametrize("variant", ["baseline", "pruned", "sparse", "lora", "pruned-again"])
def test_the_ir_computes_what_the_stored_weights_do(built: dict[str, Artifact], variant: str) -> None:
    scores = logits(built[variant].model_path, TEXTS)
    assert scores.shape == (12, 8)
    np.testing.assert_allclose(scores, by_torch(built[variant], TEXTS), atol=1e-4)
    manifest = built[variant].manifest
    assert (manifest.precision, manifest.labels) == ("f32", TOPICS)
    served = [f"model/{name}" for name in ("model.xml", "model.bin", "tokenizer.json", "tokenizer_config.json")]
    assert manifest.bytes == sum(manifest.files[name].bytes for name in served)


def test_pruned_is_a_dense_model_of_smaller_shapes(built: dict[str, Artifact]) -> None:
    parent, pruned = stored(built["baseline"]), stored(built["pruned"])
    assert pruned.keys() == parent.keys()
    layer = "bert.encoder.layer.0."
    shapes = {name.removeprefix(layer): tuple(pruned[name].shape) for name in pruned if name.startswith(layer)}
    # One of two heads of width 16 stays, and 32 of 64 neurons.
    assert {name: shape for name, shape in shapes.items() if "LayerNorm" not in name} == {
        "attention.self.query.weight": (16, 32), "attention.self.query.bias": (16,),
        "attention.self.key.weight": (16, 32), "attention.self.key.bias": (16,),
        "attention.self.value.weight": (16, 32), "attention.self.value.bias": (16,),
        "attention.output.dense.weight": (32, 16), "attention.output.dense.bias": (32,),
        "intermediate.dense.weight": (32, 32), "intermediate.dense.bias": (32,),
        "output.dense.weight": (32, 32), "output.dense.bias": (32,),
    }  # fmt: skip
    config = json.loads((built["pruned"].model_path / "config.json").read_bytes())
    assert (config["intermediate_size"], config["hidden_size"]) == (32, 32)
    said = re.match(r"([\d,]+) of its parent's ([\d,]+) parameters", built["pruned"].manifest.note)
    assert said is not None
    counts = [sum(tensor.numel() for tensor in tensors.values()) for tensors in (pruned, parent)]
    assert [int(count.replace(",", "")) for count in said.groups()] == counts
    again = stored(built["pruned-again"])
    assert tuple(again[f"{layer}attention.self.query.weight"].shape) == (16, 32), "the last head stays"
    assert tuple(again[f"{layer}intermediate.dense.weight"].shape) == (16, 32)


def test_what_is_cut_is_what_the_loss_hangs_on_least(built: dict[str, Artifact]) -> None:
    import torch

    from variants.methods.text_classification import prune_heads

    model: Any = text_classifier.of_artifact(built["baseline"])[0]
    first = prune_heads.layers_of(model)[0]
    with torch.no_grad():
        first.writes.weight[:, :16] = 0  # the first head says nothing
        first.down.weight[:, 1::2] = 0  # nor does every second neuron
    kept = first.down.weight[:, ::2].clone()
    prune_heads.narrow(model, [Encoded([2, 5 + i, 6, 3], i) for i in range(8)], 0.5)
    assert first.writes.weight.shape == (32, 16)
    assert first.writes.weight.abs().sum() > 0
    assert torch.equal(first.down.weight, kept)


def test_only_encoders_that_are_built_as_bert_have_heads_that_are_known() -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    from variants.methods.text_classification import prune_heads

    config = GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(RecipeError, match="cannot tell the heads of a gpt2"):
        prune_heads.layers_of(GPT2ForSequenceClassification(config))


def test_sparse_has_exactly_so_many_zeros_and_its_parents_size(built: dict[str, Artifact]) -> None:
    parent, sparse = stored(built["baseline"]), stored(built["sparse"])
    for name, tensor in sparse.items():
        inside = name.startswith("bert.encoder") and tensor.ndim == 2
        assert int((tensor == 0).sum()) == (round(0.25 * tensor.numel()) if inside else int((parent[name] == 0).sum()))
        same = tensor == parent[name]
        assert bool((same | (tensor == 0)).all()), name
        if inside:
            assert tensor[tensor != 0].abs().min() >= parent[name][tensor == 0].abs().max()
    files = [built[name].manifest.files["model/model.bin"].bytes for name in ("baseline", "sparse")]
    assert files[0] == files[1]
    assert "no smaller and no faster" in built["sparse"].manifest.note


def constants(artifact: Artifact) -> dict[str, int]:
    """How many weights the IR holds in each type, matrices alone."""
    counts: dict[str, int] = {}
    for node in ov.Core().read_model(artifact.model_path / "model.xml").get_ops():
        if node.get_type_name() == "Constant" and len(node.shape) == 2 and min(node.shape) > 2:
            name = node.get_element_type().get_type_name()
            counts[name] = counts.get(name, 0) + int(np.prod(list(node.shape)))
    return counts


def test_matrices_are_stored_in_the_type_that_is_said(built: dict[str, Artifact]) -> None:
    whole = constants(built["baseline"])
    assert whole.keys() == {"f32"}
    assert constants(built["dynamic"]) == {"i8": whole["f32"]}
    assert constants(built["bf16"]).keys() == {"bf16"}
    assert {"i8", "u8"} & constants(built["int8"]).keys()
    precisions = {name: artifact.manifest.precision for name, artifact in built.items()}
    assert precisions["int8"] == "int8"
    assert (precisions["dynamic"], precisions["bf16"]) == ("int8-dynamic", "bf16")
    for name in ("int8", "dynamic", "bf16"):
        assert sorted(built[name].manifest.files) == [
            "model/model.bin", "model/model.xml", "model/tokenizer.json", "model/tokenizer_config.json",
        ]  # fmt: skip


@pytest.mark.parametrize(("variant", "precision"), [("int8", "int8"), ("dynamic", "int8-dynamic"), ("bf16", "bf16")])
def test_fewer_bits_stay_close_to_the_parent(built: dict[str, Artifact], variant: str, precision: str) -> None:
    parent = logits(built["baseline"].model_path, TEXTS)
    change = np.abs(logits(built[variant].model_path, TEXTS, precision) - parent).max()
    assert 0 < change < 0.25 * np.abs(parent).max()


def test_activations_are_brought_to_8_bits_where_the_cpu_can(built: dict[str, Artifact]) -> None:
    if "avx512_vnni" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("OpenVINO's dynamic quantization needs VNNI")
    folder = built["dynamic"].model_path
    model = OpenVinoEmbedder(folder, "int8-dynamic", 1)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    alone = ov.Core().compile_model(folder / "model.xml", "CPU", settings)
    ids = np.array(model.encode(TEXTS[:1]))
    weights_alone = alone([ids, np.ones_like(ids)])[0]
    change = np.abs(model.embed(ids.tolist()) - weights_alone).max()
    assert 1e-5 < change < 0.05 * np.abs(weights_alone).max()


def test_the_adapter_is_low_rank_matrices_and_a_head_and_merged_is_the_sum(
    built: dict[str, Artifact], encoder: Path
) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    folder = built["lora"].model_path / "adapter"
    adapter = load_file(folder / "adapter_model.safetensors")
    matrices = {name: tensor for name, tensor in adapter.items() if ".lora_" in name}
    assert {name.rpartition("base_model.model.")[2] for name in adapter.keys() - matrices.keys()} == {
        "classifier.weight", "classifier.bias",
    }  # fmt: skip
    assert len(matrices) == 2 * (2 * 6)  # query, key, value, three dense in each layer
    for name, tensor in matrices.items():
        assert tensor.shape[0 if ".lora_A." in name else 1] == 4, name
    assert json.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"] == encoder.name
    base, _ = text_classifier.load_encoder(encoder, TOPICS)
    PeftModel.from_pretrained(base, folder).eval()  # puts the adapter into the base
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    with torch.no_grad():
        tokens = [tokenizer(text, return_tensors="pt") for text in TEXTS]
        theirs = [text_classifier.logits(base, each["input_ids"], each["attention_mask"])[0].numpy() for each in tokens]
    np.testing.assert_allclose(logits(built["lora"].model_path, TEXTS), theirs, atol=1e-4)


def test_a_parent_without_weights_to_train_on_is_refused(built: dict[str, Artifact], tmp_path: Path) -> None:
    for recipe, says in (
        (HEADS, "weights that can be trained on"),
        (MAGNITUDE, "trained on"),
        (BF16, "its weights are int8 already"),
    ):
        given = job(recipe, tmp_path / str(recipe["kind"]), parent=built["int8"])
        with pytest.raises(RecipeError, match=says) as refused:
            find(TASK, parse_recipe(recipe)).run(given)
        assert refused.value.field == "parent"


def test_batches_hold_every_example_once_an_epoch_and_texts_of_like_length() -> None:
    data = [Encoded(list(range(1 + 7 * i % 40)), i) for i in range(70)]
    batches = drawn(data, 8, 2, 3)
    assert [len(batch) for batch in batches].count(8) == 16
    for epoch in (batches[:9], batches[9:]):
        assert sorted(each.target for batch in epoch for each in batch) == list(range(70))
    spread = [max(len(each.ids) for each in batch) - min(len(each.ids) for each in batch) for batch in batches]
    assert sorted(spread)[len(spread) // 2] < 10, "of 40"
    assert drawn(data, 8, 2, 3) == batches
    assert drawn(data, 8, 2, 4) != batches
