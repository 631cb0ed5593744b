"""The detection engine over HTTP, asked by the official tritonclient."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import tritonclient.http as triton
from PIL import Image

from tests.integration.serve.engines.engine import Engine, running, write_manifest

pytestmark = pytest.mark.integration
DETECTOR = {"decoder": "centernet", "size": [32, 48], "strides": [16], "mean": 0, "std": 255, "least": 0.1}


class Corner(torch.nn.Module):
    """Sees something in the top left place, the redder the surer; its box reaches half a stride to each side."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        red = pixels[:, :1, :16, :16].mean(dim=(2, 3), keepdim=True)
        scores = torch.nn.functional.pad(red * 20 - 10 + 9, (0, 2, 0, 1)) - 9
        return torch.cat([torch.full_like(scores, -9), scores, *[torch.full_like(scores, -0.4328)] * 4], dim=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    import openvino

    folder = tmp_path_factory.mktemp("corner")
    model = openvino.convert_model(Corner(), example_input=torch.zeros(1, 3, 32, 48), input=[1, 3, 32, 48])
    openvino.save_model(model, folder / "model" / "model.xml", compress_to_fp16=False)
    fields = {"task": "object-detection", "format": "openvino", "labels": ("cat", "dog"), "detector": DETECTOR}
    write_manifest(folder, **fields)
    with running("openvino.detector", "--artifact", str(folder), "--name", "corner@baseline") as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(engine.address) as connected:
        yield connected


def picture(colour: tuple[int, int, int], form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(file, form)
    return file.getvalue()


def image_input(*files: bytes) -> triton.InferInput:
    tensor = triton.InferInput("image", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object))
    return tensor


def test_metadata_names_tensors_and_the_executed_precision(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("corner@baseline")
    assert metadata["parameters"] == {"executes": "f32"}
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    assert metadata["outputs"] == [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "scores", "datatype": "FP32", "shape": [-1]},
        {"name": "labels", "datatype": "BYTES", "shape": [-1]},
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_boxes_are_in_pixels_of_the_image_that_was_sent(client: triton.InferenceServerClient, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("boxes", "scores", "labels")]
    answer = client.infer("corner@baseline", [image_input(picture((255, 0, 0)))], outputs=outputs)
    boxes, scores, labels = (answer.as_numpy(name) for name in ("boxes", "scores", "labels"))
    assert (boxes.dtype, boxes.shape, scores.dtype, scores.shape) == (np.float32, (1, 4), np.float32, (1,))
    assert labels.tolist() == ([b"dog"] if binary else ["dog"])
    # The middle of the place is (8, 8), the reach 0.5 strides of 16; the image is twice the input.
    np.testing.assert_allclose(boxes, [[0, 0, 32, 32]], atol=0.1)
    assert scores[0] == pytest.approx(1 / (1 + np.exp(-10)), abs=1e-4)


def test_boxes_of_a_turned_photograph_are_in_the_upright_picture(client: triton.InferenceServerClient) -> None:
    upright = Image.new("RGB", (96, 64))
    upright.paste((255, 0, 0), (0, 0, 32, 32))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=100, exif=exif)
    answer = client.infer("corner@baseline", [image_input(file.getvalue())])
    np.testing.assert_allclose(answer.as_numpy("boxes"), [[0, 0, 32, 32]], atol=0.1)


def test_nothing_found_is_an_answer_of_no_rows(client: triton.InferenceServerClient) -> None:
    answer = client.infer("corner@baseline", [image_input(picture((0, 0, 0), "JPEG"))])
    assert answer.as_numpy("boxes").shape == (0, 4)
    assert answer.as_numpy("scores").shape == answer.as_numpy("labels").shape == (0,)


def test_statistics_count_images(engine: Engine, client: triton.InferenceServerClient) -> None:
    before = client.get_inference_statistics("corner@baseline")["model_stats"][0]
    client.infer("corner@baseline", [image_input(picture((255, 0, 0)))])
    after = client.get_inference_statistics("corner@baseline")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 1
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]


GOOD = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(picture((9, 9, 9))).decode()]}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"inputs": [GOOD | {"name": "pixels"}]}, "inputs", "one tensor, `image`"),
        ({"inputs": [GOOD | {"shape": [2], "data": GOOD["data"] * 2}]}, "inputs[0].shape", "one image a request"),
        ({"inputs": [GOOD | {"data": ["aGVsbG8="]}]}, "inputs[0].data[0]", "neither PNG nor JPEG"),
        ({"inputs": [GOOD], "outputs": [{"name": "masks"}]}, "outputs[0].name", "boxes, scores, labels"),
    ],
)
def test_bad_input_is_a_400_that_names_the_field(
    engine: Engine, body: dict[str, object], field: str, says: str
) -> None:
    status, answer = engine.post("/v2/models/corner@baseline/infer", body)
    assert status == 400
    assert answer["error"].startswith(f"{field}: ")
    assert says in answer["error"]


def test_a_manifest_without_a_detector_ends_in_one_line(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "model").mkdir()
    write_manifest(tmp_path, task="object-detection", format="openvino", labels=("cat",))
    command = [sys.executable, "-m", "serve.engines.openvino.detector", "--artifact", str(tmp_path)]
    done = subprocess.run([*command, "--name", "x", "--port", "1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "no detector or no labels" in done.stderr
    assert "Traceback" not in done.stderr
