"""Models that openvino, nncf and torch wrote here, and not this project, as variants of the baseline beside them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from serve.engines.openvino.model import Compiled
from tests.integration.serve.engines.engine import running
from tests.integration.serve.engines.tiny_encoder import make_classifier, make_encoder
from tests.integration.variants.methods.detection.test_huggingface import SETTINGS, spread, yolos
from tests.integration.variants.methods.published.exports import (
    BERT_INPUTS,
    alone,
    bert_example,
    bert_graph,
    module_of,
    tiny_onnx,
    write_ir,
    write_onnx,
)
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.manifest import TaskKind
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError, UnderstudyError
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
FLOAT32 = {"kind": "baseline", "dtype": "float32"}
PUBLISHED = {"kind": "published"}
TEXTS: TaskKind = "text-classification"
WORDS: dict[str, Any] = {"input_ids": np.array([[2, 7, 9, 11, 3]]), "attention_mask": np.ones((1, 5), np.int64)}
SEGMENTS: dict[str, Any] = {"token_type_ids": np.zeros((1, 5), np.int64)}
BOUND = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32}
EXECUTED: dict[str, tuple[str, str, dict[str, int]]] = {
    "f32": ("f32", "f32", {}),
    "onnx": ("f32", "f32", {}),
    "f16": ("f16", "f32", {}),
    "int8": ("int8", "bf16", {}),
    "weights8": ("int8-dynamic", "f32", BOUND),
    "weights4": ("int4", "f32", BOUND),
}
"""What each export is taken for, and how OpenVINO alone is asked for the same."""


def bert(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def exports(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    import nncf

    folder, model = tmp_path_factory.mktemp("exports"), bert(classifier)
    rows = [{**WORDS, **SEGMENTS, "input_ids": WORDS["input_ids"] + shift} for shift in range(8)]
    static = nncf.quantize(bert_graph(model), nncf.Dataset(rows), model_type=nncf.ModelType.TRANSFORMER)
    weights8 = nncf.compress_weights(bert_graph(model), mode=nncf.CompressWeightsMode.INT8_SYM)
    weights4 = nncf.compress_weights(
        bert_graph(model), mode=nncf.CompressWeightsMode.INT4_SYM, group_size=16, ratio=1.0, all_layers=True
    )
    return {
        "f32": write_ir(bert_graph(model), folder / "f32"),
        "f16": write_ir(bert_graph(model), folder / "f16", fp16=True),
        "int8": write_ir(static, folder / "int8"),
        "weights8": write_ir(weights8, folder / "weights8"),
        "weights4": write_ir(weights4, folder / "weights4"),
        "onnx": write_onnx(model, bert_example(), folder / "onnx" / "model.onnx", BERT_INPUTS, "logits"),
    }


def make(
    home: Path, task: TaskKind, base: Path, sources: dict[str, Path], baseline: dict[str, Any] = FLOAT32
) -> dict[str, Artifact]:
    def source_of(path: Path) -> Source:
        return Source(uri=str(path), licence="MIT")

    plans = [VariantPlan("tiny", "baseline", task, source_of(base), parse_recipe(baseline))]
    plans += [
        VariantPlan("tiny", name, task, source_of(path), parse_recipe(PUBLISHED), "baseline", has_own_source=True)
        for name, path in sources.items()
    ]
    return {name: artifact for (_, name), artifact in build(plans, Store(home), Catalog(home)).items()}


@pytest.fixture(scope="module")
def built(classifier: Path, exports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return make(tmp_path_factory.mktemp("home"), TEXTS, classifier, exports)


def file_in(path: Path) -> Path:
    return path if path.is_file() else path / "openvino_model.xml"


@pytest.mark.parametrize("name", sorted(EXECUTED))
def test_it_answers_as_openvino_alone_and_says_what_it_is(
    name: str, built: dict[str, Artifact], exports: dict[str, Path]
) -> None:
    precision, executes, settings = EXECUTED[name]
    manifest = built[name].manifest
    assert (manifest.precision, manifest.format, manifest.labels) == (precision, "openvino", ("cat", "dog", "fox"))
    assert manifest.note.startswith(f"as published: {file_in(exports[name]).name}, weights ")
    assert manifest.parent_digest == built["baseline"].manifest.digest
    engine = Compiled(built[name].model_path / "model.xml", manifest.precision, 1, shapes_vary=True)
    wanted = alone(file_in(exports[name]), executes, WORDS | SEGMENTS, settings)
    assert np.ptp(wanted) > 0.01
    np.testing.assert_allclose(engine.run(**WORDS), wanted, rtol=0, atol=1e-5)


def test_the_note_names_what_the_graph_holds(built: dict[str, Artifact]) -> None:
    assert "places" in built["int8"].manifest.note
    assert "% i8" in built["weights8"].manifest.note
    assert "% i4" in built["weights4"].manifest.note
    assert built["onnx"].manifest.note.endswith("weights 100 % f32")


def test_served_it_answers_as_openvino_alone(built: dict[str, Artifact], exports: dict[str, Path]) -> None:
    wanted = alone(file_in(exports["weights8"]), "f32", WORDS | SEGMENTS, BOUND)[0]
    powers = np.exp(wanted - wanted.max())
    options = "--artifact", str(built["weights8"].path), "--name", "tiny@weights8"
    with running("openvino.text_classifier", *options) as engine:
        text = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["w3 w5 w7"]}
        status, answer = engine.post("/v2/models/tiny@weights8/infer", {"inputs": [text]})
    assert status == 200, answer
    scores = next(output["data"] for output in answer["outputs"] if output["name"] == "scores")
    np.testing.assert_allclose(scores, powers / powers.sum(), rtol=0, atol=1e-5)


def refused(task: TaskKind, base: Path, source: Path) -> UnderstudyError:
    """Why `source` is no variant of `base`. The home beside `base` is shared, so that its baseline is built once."""
    home = base.with_name(f"{base.name}-home")
    with pytest.raises((RecipeError, SourceError)) as error:
        make(home, task, base, {"other": source})
    assert error.value.field == "models.tiny.variants.other.source.uri"
    assert error.value.mend
    assert not list((home / "artifacts" / ".staging").iterdir())
    assert [entry.name for entry in (home / "artifacts").iterdir() if not entry.name.startswith(".")]
    return error.value


def without_weights(folder: Path) -> Path:
    (folder / "openvino_model.bin").unlink()
    return folder


def with_half_of_its_weights(folder: Path) -> Path:
    weights = folder / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def with_two_models(folder: Path) -> Path:
    shutil.copyfile(folder / "openvino_model.xml", folder / "other.xml")
    return folder


def with_labels_in_another_order(folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "dog", "1": "cat", "2": "fox"}}))
    return folder


def with_another_tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]")).save(str(folder / "tokenizer.json"))
    return folder


def a_pickle(folder: Path) -> Path:
    (pickle := folder.with_name("pytorch_model.bin")).write_bytes(b"\x80\x04")
    return pickle


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: folder / "openvino_model.xml", "one of an IR's two files"),
        (without_weights, "openvino_model.xml has no openvino_model.bin beside it"),
        (with_half_of_its_weights, "OpenVINO cannot read openvino_model.xml"),
        (with_two_models, "has openvino_model.xml and other.xml"),
        (with_labels_in_another_order, "config.json names the labels dog, cat, fox"),
        (with_another_tokenizer, "tokenizer.json has another vocabulary"),
        (a_pickle, "pytorch_model.bin is a pickle"),
    ],
)
def test_files_that_are_no_whole_model_of_the_baseline(
    tmp_path: Path, classifier: Path, exports: dict[str, Path], change: Callable[[Path], Path], says: str
) -> None:
    source = change(Path(shutil.copytree(exports["f32"], tmp_path / "source")))
    assert says in str(refused(TEXTS, classifier, source))


@pytest.mark.parametrize(
    ("onnx", "says"),
    [
        (b"nothing", "OpenVINO cannot read model.onnx"),
        (tiny_onnx("MatMul"), "weights.data"),
        (tiny_onnx("Unheard", domain="com.example", weights=bytes(64)), "Unheard"),
        (tiny_onnx("MatMul", weights=bytes(64)), "its inputs are x, those of its baseline attention_mask, input_ids"),
    ],
)
def test_onnx_files_that_cannot_be_served(tmp_path: Path, classifier: Path, onnx: bytes, says: str) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx)
    (tmp_path / "weights.data").write_bytes(bytes(64))  # beside the file, but in no hash
    assert says in str(refused(TEXTS, classifier, tmp_path / "model.onnx"))


def test_data_beside_an_onnx_file_is_read_where_the_folder_is_named(tmp_path: Path) -> None:
    from variants.methods.published.model_file import read

    (tmp_path / "model.onnx").write_bytes(tiny_onnx("MatMul"))
    with pytest.raises(SourceError, match=r"cannot read model\.onnx"):
        read(tmp_path)
    (tmp_path / "weights.data").write_bytes(np.eye(4, dtype=np.float32).tobytes())
    given = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(ov.compile_model(read(tmp_path), "CPU")(given)[0], given)


def test_an_ir_is_read_through_the_links_of_the_hubs_cache(tmp_path: Path) -> None:
    from openvino import opset13 as ops

    from variants.methods.published.model_file import read

    given, weights = np.ones((1, 4), np.float32), np.arange(128, dtype=np.float32).reshape(4, 32)
    parameter = ops.parameter([1, 4], np.float32)
    blobs = write_ir(ov.Model([ops.matmul(parameter, weights, False, False)], [parameter]), tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for number, path in enumerate(sorted(blobs.iterdir())):
        (tmp_path / "snapshot" / path.name).symlink_to(path.rename(blobs / str(number)))
    np.testing.assert_array_equal(ov.compile_model(read(tmp_path / "snapshot"), "CPU")(given)[0], given @ weights)


def test_a_classifier_of_other_labels(tmp_path: Path, classifier: Path) -> None:
    other = bert(make_classifier(tmp_path / "other", ("a", "b", "c", "d")))
    error = refused(TEXTS, classifier, write_ir(bert_graph(other), tmp_path / "source"))
    assert "it gives [?,4], its baseline [?,3]" in str(error)


def test_a_classifier_that_ends_in_a_softmax(tmp_path: Path, classifier: Path) -> None:
    import torch

    module = module_of(bert(classifier), lambda inner, *given: torch.softmax(inner(*given).logits, -1))
    source = write_onnx(module, bert_example(), tmp_path / "model.onnx", BERT_INPUTS, "scores")
    assert "it ends in a softmax" in str(refused(TEXTS, classifier, source))


def test_it_needs_a_baseline_beside_it(tmp_path: Path) -> None:
    source = Source(uri=str(tmp_path), licence="MIT")
    plan = VariantPlan("tiny", "other", TEXTS, source, parse_recipe(PUBLISHED), has_own_source=True)
    with pytest.raises(RecipeError, match="published-openvino needs a parent"):
        build([plan], Store(tmp_path), Catalog(tmp_path))


@pytest.mark.parametrize("form", ["normalised", "pooled", "hidden"])
def test_an_encoder_gives_vectors_of_length_1(tmp_path: Path, form: str) -> None:
    import torch
    from transformers import AutoModel

    folder = make_encoder(tmp_path / "encoder")

    def compute(inner: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = inner(input_ids=ids, attention_mask=mask).last_hidden_state
        if form == "hidden":
            return hidden
        # The baseline takes the mean, whose direction is that of the sum.
        vector = (hidden * mask.unsqueeze(-1)).sum(1)
        return torch.nn.functional.normalize(vector, dim=-1) if form == "normalised" else vector

    module = module_of(AutoModel.from_pretrained(folder), compute)
    source = write_onnx(module, bert_example()[:2], tmp_path / "model.onnx", BERT_INPUTS[:2], "vector")
    if form == "normalised":
        made = make(tmp_path / "home", "feature-extraction", folder, {"other": source})
        ours, theirs = (
            Compiled(made[name].model_path / "model.xml", "f32", 1, shapes_vary=True).run(**WORDS).copy()
            for name in ("other", "baseline")
        )
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
        return
    says = "its vectors have length" if form == "pooled" else "it gives [?,?,32], its baseline [?,32]"
    assert says in str(refused("feature-extraction", folder, source))


def images(*, classes: int = 3, channels: int = 3) -> Any:
    """A small network, and the pixels of two images."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(channels, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(8, classes),
    )  # fmt: skip
    return network.eval(), torch.rand(2, channels, 32, 32)


def test_an_image_classifier_from_onnx_and_from_float16_ends(tmp_path: Path, tiny_vit: Path) -> None:
    network, pixels = images()
    given = {"pixels": pixels.numpy()}
    path = write_onnx(network, (pixels,), tmp_path / "model.onnx", ["pixels"], "logits")
    half = ov.convert_model(network.half(), example_input=pixels.half(), input=[([-1, 3, 32, 32], ov.Type.f16)])
    half.inputs[0].get_tensor().set_names({"pixels"})
    sources = {"onnx": path, "half": write_ir(half, tmp_path / "half")}
    made = make(tmp_path / "home", "image-classification", tiny_vit, sources)
    assert made["onnx"].manifest.preprocess == made["baseline"].manifest.preprocess is not None
    assert (made["onnx"].manifest.precision, made["half"].manifest.precision) == ("f32", "f16")
    wanted = alone(path, "f32", given)
    for name, apart in (("onnx", 1e-6), ("half", 1e-3)):
        engine = Compiled(made[name].model_path / "model.xml", made[name].manifest.precision, 1)
        np.testing.assert_allclose(engine.run(given["pixels"]), wanted, rtol=0, atol=apart)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": 4}, "it gives [?,4], its baseline [?,3]"),
        ({"channels": 4}, "it takes [?,4,32,32], its baseline [?,3,32,32]"),
    ],
)
def test_an_image_classifier_of_other_shapes(
    tmp_path: Path, tiny_vit: Path, options: dict[str, int], says: str
) -> None:
    network, pixels = images(**options)
    shape = [-1, *pixels.shape[1:]]
    model = ov.convert_model(network, example_input=pixels, input=[(shape, ov.Type.f32)])
    assert says in str(refused("image-classification", tiny_vit, write_ir(model, tmp_path / "source")))


def test_an_image_classifier_that_makes_other_rows_of_a_batch(tmp_path: Path, tiny_vit: Path) -> None:
    """As an export has it whose shapes are constants: it was made for two images of 16 x 16 pixels."""
    from openvino import opset13 as ops

    pixels = ops.parameter([2, 3, 16, 16], np.float32, name="pixels")
    rows = ops.reshape(pixels, ops.constant(np.array([-1, 768])), special_zero=False)
    model = ov.Model([ops.matmul(rows, np.ones((768, 3), np.float32), False, False)], [pixels])
    error = refused("image-classification", tiny_vit, write_ir(model, tmp_path / "source"))
    assert "it gives 8 rows for a batch of 2" in str(error)


def test_a_detector_with_the_weights_of_its_baseline_in_8_bits(tmp_path: Path) -> None:
    import nncf
    import torch

    torch.manual_seed(0)
    spread(model := yolos().eval())
    folder = tmp_path / "yolos"
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(SETTINGS["yolos"]))
    recipe = {"kind": "baseline-detector", "image_size": [64, 96]}
    first = make(tmp_path / "first", "object-detection", folder, {}, recipe)["baseline"]
    graph = ov.Core().read_model(first.model_path / "model.xml")
    source = write_ir(nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM), tmp_path / "source")
    made = make(tmp_path / "home", "object-detection", folder, {"other": source}, recipe)["other"]
    assert (made.manifest.precision, made.manifest.detector) == ("int8-dynamic", first.manifest.detector)
    pixels = np.random.default_rng(0).random((1, 3, 64, 96), np.float32)
    name = graph.inputs[0].any_name
    engine = Compiled(made.model_path / "model.xml", "int8-dynamic", 1)
    wanted = alone(file_in(source), "f32", {name: pixels}, BOUND)
    np.testing.assert_allclose(engine.run(pixels), wanted, rtol=0, atol=1e-5)
