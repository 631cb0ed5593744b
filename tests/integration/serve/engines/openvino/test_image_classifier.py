"""The image engines over HTTP, asked by the official tritonclient."""

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from serve.engines.artifact import open_artifact
from serve.engines.openvino.image_classifier import OpenVinoModel
from serve.errors import ClientLeft
from tests.integration.serve.engines.engine import Engine, running, write_manifest

pytestmark = pytest.mark.integration

SIZE = (20, 16)
LABELS = ("red", "green", "blue")
PREPROCESS = {"size": list(SIZE), "mean": [10.0, 20.0, 30.0], "std": [50.0, 60.0, 70.0]}


class MeanColour(torch.nn.Module):
    """Logits are each channel's mean times 3: what it answers to an image can be worked out by hand."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3)) * 3


def openvino_artifact(folder: Path, precision: str) -> Path:
    import openvino

    model = openvino.convert_model(MeanColour(), example_input=torch.zeros(1, 3, *SIZE))
    model.reshape([-1, 3, *SIZE])
    openvino.save_model(model, folder / "model" / "model.xml", compress_to_fp16=False)
    write_manifest(
        folder,
        task="image-classification",
        format="openvino",
        precision=precision,
        labels=LABELS,
        preprocess=PREPROCESS,
    )
    return folder


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = openvino_artifact(tmp_path_factory.mktemp("colour"), "f32")
    with running("openvino.image_classifier", "--artifact", str(folder), "--name", "colour@baseline") as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(engine.address) as connected:
        yield connected


def picture(colour: tuple[int, ...] | int, form: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (40, 30), colour).save(file, form)
    return file.getvalue()


def saved(image: Image.Image, form: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def image_input(*files: bytes) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    data = np.empty(len(files), dtype=object)
    data[:] = files
    tensor.set_data_from_numpy(data)
    return tensor


def expected(red: float, green: float, blue: float) -> np.ndarray:
    """Worked out for one colour: normalised as the manifest says, times 3, softmax."""
    logits = [3 * (red - 10) / 50, 3 * (green - 20) / 60, 3 * (blue - 30) / 70]
    powers = np.exp(np.array(logits) - max(logits))
    return powers / powers.sum()


def test_metadata_names_tensors_and_the_executed_precision(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("colour@baseline")
    assert metadata["platform"] == "openvino"
    assert metadata["parameters"] == {"executes": "f32"}
    assert metadata["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "FP32", "shape": [-1, 3, 20, 16]},
    ]
    assert metadata["outputs"] == [
        {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "labels", "datatype": "BYTES", "shape": [-1]},
    ]


def test_images_in_binary_give_scores_and_labels(client: triton.InferenceServerClient) -> None:
    files = picture((200, 0, 0)), picture((0, 0, 250)), picture(90, "PNG", "L")
    answer = client.infer("colour@baseline", [image_input(*files)], request_id="seven")
    assert answer.get_response()["id"] == "seven"
    assert answer.as_numpy("labels").tolist() == [b"red", b"blue", b"red"]
    wanted = np.stack([expected(200, 0, 0), expected(0, 0, 250), expected(90, 90, 90)])
    np.testing.assert_allclose(answer.as_numpy("scores"), wanted, atol=1e-4)


def test_transparent_and_jpeg_images_are_read(client: triton.InferenceServerClient) -> None:
    files = picture((0, 250, 0, 100), "PNG", "RGBA"), picture((0, 250, 0), "JPEG")
    answer = client.infer("colour@baseline", [image_input(*files)])
    assert answer.as_numpy("labels").tolist() == [b"green", b"green"]


def test_images_of_other_forms_are_seen_as_their_plain_twin(client: triton.InferenceServerClient) -> None:
    deep = Image.fromarray(np.full((30, 40), 90 * 257, np.uint16))
    half_clear = Image.new("RGBA", (40, 30), (0, 0, 0, 51))
    pairs = [
        (saved(deep, "PNG"), (90, 90, 90)),
        (saved(half_clear, "PNG"), (204, 204, 204)),
        (saved(Image.new("RGB", (40, 30), (0, 250, 0)), "WEBP", lossless=True), (0, 250, 0)),
        (saved(Image.new("P", (40, 30), 0), "GIF"), (0, 0, 0)),
        (saved(Image.new("CMYK", (40, 30), (255, 255, 0, 0)), "JPEG"), (0, 0, 255)),
    ]
    answer = client.infer("colour@baseline", [image_input(*(file for file, _ in pairs))])
    wanted = np.stack([expected(*colour) for _, colour in pairs])
    np.testing.assert_allclose(answer.as_numpy("scores"), wanted, atol=0.02)


def test_only_asked_outputs_come_and_as_asked(client: triton.InferenceServerClient) -> None:
    outputs = [triton.InferRequestedOutput("labels", binary_data=False)]
    answer = client.infer("colour@baseline", [image_input(picture((200, 0, 0)))], outputs=outputs)
    assert answer.get_response()["outputs"] == [{"name": "labels", "datatype": "BYTES", "shape": [1], "data": ["red"]}]


@pytest.mark.parametrize("binary", [True, False])
def test_the_best_classes_come_by_the_classification_extension(
    client: triton.InferenceServerClient, binary: bool
) -> None:
    outputs = [triton.InferRequestedOutput("scores", binary_data=binary, class_count=2)]
    answer = client.infer("colour@baseline", [image_input(picture((0, 0, 250)))], outputs=outputs)
    ranked = answer.as_numpy("scores").ravel()  # bytes where they came as binary, text where they came as JSON
    first, second = ((each if isinstance(each, str) else each.decode()).split(":") for each in ranked)
    assert (first[1:], second[1:]) == (["2", "blue"], ["0", "red"])
    np.testing.assert_allclose([float(first[0]), float(second[0])], expected(0, 0, 250)[[2, 0]], atol=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_are_taken_as_they_are(client: triton.InferenceServerClient, binary: bool) -> None:
    pixels = np.zeros((40, 3, *SIZE), dtype=np.float32)
    pixels[:, 1] = np.linspace(0.1, 2, 40).reshape(40, 1, 1)
    tensor = triton.InferInput("pixels", pixels.shape, "FP32")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    scores = client.infer("colour@baseline", [tensor]).as_numpy("scores")
    powers = np.exp(3 * np.linspace(0.1, 2, 40))
    np.testing.assert_allclose(scores[:, 1], powers / (powers + 2), atol=1e-5)


def test_json_carries_images_as_base64(engine: Engine) -> None:
    text = base64.b64encode(picture((0, 250, 0))).decode()
    body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    status, answer = engine.post("/v2/models/colour@baseline/infer", body)
    assert status == 200
    assert answer["outputs"][1]["data"] == ["green"]


def image_json(**changes: object) -> dict[str, object]:
    good = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}
    return {"inputs": [good | changes]}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b"\x89PNG", "body", "not JSON"),
        ({"outputs": []}, "inputs", "missing"),
        (image_json(), "inputs[0].data[0]", "neither PNG nor JPEG"),
        (image_json(data=["not base64!"]), "inputs[0].data[0]", "not base64"),
        (image_json(shape=[2]), "inputs[0].shape", "[2] has 2 elements, 1 were sent"),
        (image_json(shape=[1, 1]), "inputs[0].shape", "[1, 1]"),
        (image_json(datatype="FP32", data=[1.0]), "inputs[0].datatype", "FP32"),
        (image_json(name="picture"), "inputs", "picture"),
        (image_json(name="pixels", datatype="FP32", data=[1.0]), "inputs[0].shape", "[B, 3, 20, 16]"),
        (image_json(name="pixels", datatype="FP64", data=[1.0]), "inputs[0].datatype", "FP64"),
        (image_json() | {"outputs": [{"name": "boxes"}]}, "outputs[0].name", "scores, labels"),
    ],
)
def test_bad_input_is_a_400_that_names_the_field(engine: Engine, body: object, field: str, says: str) -> None:
    status, answer = engine.post("/v2/models/colour@baseline/infer", body)  # type: ignore[arg-type]
    assert status == 400
    assert answer["error"].startswith(f"{field}: ")
    assert says in answer["error"]
    assert answer["code"] == "invalid_request"


def test_a_truncated_png_is_a_400(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="not an image"):
        client.infer("colour@baseline", [image_input(picture((1, 2, 3))[:60])])


def test_another_model_is_a_404(engine: Engine) -> None:
    status, answer = engine.post("/v2/models/colour/infer", image_json())
    assert status == 404
    assert "colour@baseline" in answer["error"]


def test_bf16_is_what_the_manifest_asks_for(tmp_path: Path) -> None:
    folder = openvino_artifact(tmp_path, "bf16")
    with (
        running("openvino.image_classifier", "--artifact", str(folder), "--name", "colour") as started,
        triton.InferenceServerClient(started.address) as client,
    ):
        executes = client.get_model_metadata("colour")["parameters"]["executes"]
        if executes == "f32":
            pytest.skip("this CPU does not execute bf16")
        assert executes == "bf16"
        answer = client.infer("colour", [image_input(picture((200, 0, 0)))])
        assert answer.as_numpy("labels").tolist() == [b"red"]


def test_pixels_of_any_memory_layout_are_read_while_they_live(tmp_path: Path) -> None:
    """OpenVINO reads the array in place, so a copy that was made on the way must live until it is done."""
    artifact = open_artifact(openvino_artifact(tmp_path, "f32"))
    assert artifact.manifest is not None
    model = OpenVinoModel(artifact.model / "model.xml", artifact.manifest, 1)
    rng = np.random.default_rng(0)
    for rows in rng.integers(1, 9, 300):
        channels_last = rng.normal(size=(rows, *SIZE, 3)) + rng.normal(size=3)
        pixels = channels_last.astype(np.float32).transpose(0, 3, 1, 2)
        top = channels_last.mean(axis=(1, 2)).argmax(axis=1)
        np.testing.assert_array_equal(model.predict(pixels).argmax(axis=1), top)


def test_a_batch_ends_with_its_layer_when_its_client_leaves(tmp_path: Path) -> None:
    import openvino

    layers = [torch.nn.Conv2d(3 if i == 0 else 8, 8 if i < 19 else 3, 3, padding=1) for i in range(20)]
    deep = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    model = openvino.convert_model(deep, example_input=torch.zeros(1, 3, 96, 96))
    model.reshape([-1, 3, 96, 96])
    openvino.save_model(model, tmp_path / "model" / "model.xml", compress_to_fp16=False)
    write_manifest(
        tmp_path,
        task="image-classification",
        format="openvino",
        precision="f32",
        labels=LABELS,
        preprocess=PREPROCESS | {"size": [96, 96]},
    )
    artifact = open_artifact(tmp_path)
    assert artifact.manifest is not None
    classifier = OpenVinoModel(artifact.model / "model.xml", artifact.manifest, 1)
    pixels = np.random.default_rng(0).normal(size=(64, 3, 96, 96)).astype(np.float32)
    gone = threading.Event()
    whole = classifier.predict(pixels)
    np.testing.assert_array_equal(classifier.predict(pixels, gone), whole)
    before = classifier.computed_ns
    gone.set()
    with pytest.raises(ClientLeft):
        classifier.predict(pixels, gone)
    assert classifier.computed_ns == before
    np.testing.assert_array_equal(classifier.predict(pixels), whole)


def vit_folder(folder: Path) -> Path:
    """A tiny random ViT with a preprocessor as such models have it."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "owl"},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"size": {"height": 32, "width": 32}, "resample": 2, "do_rescale": true, "rescale_factor": 0.00392156862,'
        ' "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    )
    return folder


def test_a_hugging_face_classifier_answers_as_transformers_does(tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification, ViTImageProcessorPil

    folder = vit_folder(tmp_path)
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.save(file, "PNG")
    processor = ViTImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        logits = AutoModelForImageClassification.from_pretrained(folder)(**processor(noise, return_tensors="pt"))
    wanted = logits.logits.softmax(-1).numpy()
    with (
        running("torch.image", "--artifact", str(folder), "--name", "vit") as started,
        triton.InferenceServerClient(started.address) as client,
    ):
        answer = client.infer("vit", [image_input(file.getvalue())])
        np.testing.assert_allclose(answer.as_numpy("scores"), wanted, atol=1e-4)
        assert answer.as_numpy("labels").tolist() == [("cat", "dog", "owl")[wanted.argmax()].encode()]
        assert client.get_model_metadata("vit")["inputs"][1]["shape"] == [-1, 3, 32, 32]
