"""The image generator's engine over HTTP, asked by the official client; what it draws is known beforehand."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from serve.engines.openvino.image_generator import OpenVinoGenerator
from tests.integration.serve.engines.engine import Engine, running, write_manifest
from tests.support.drawing import LABELS, SAMPLER, write_generator
from variants.errors import EngineError
from variants.vision.diffusion_sampler import FILE

pytestmark = pytest.mark.integration
NAME = "scribe@baseline"
PICTURES = [np.full((28, 28), label / 4.5 - 1, dtype=np.float32) for label in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scribe")
    write_generator(folder / "model", PICTURES)
    write_manifest(folder, task="image-generation", format="openvino", precision="f32", labels=LABELS)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    with running("openvino.image_generator", "--artifact", str(folder), "--name", NAME) as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)


def pixels(entry: Any) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(entry.b64_json)))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))
    return np.asarray(image)


@pytest.mark.parametrize("label", [0, 7])
def test_the_picture_is_the_prompts(client: openai.OpenAI, label: int) -> None:
    answer = client.images.generate(model=NAME, prompt=f"a handwritten {label}", size="auto")
    assert (pixels(answer.data[0]) == round(label / 9 * 255)).all()
    assert answer.created > 1_700_000_000


def test_as_many_as_asked_for_and_signed(client: openai.OpenAI, folder: Path) -> None:
    answer = client.images.generate(
        model=NAME, prompt="a 3", n=3, response_format="b64_json", extra_body={"seed": 2**60}
    )
    assert len(answer.data or []) == 3
    assert answer.model_extra["seed"] == 2**60
    assert len(answer.model_extra["system_fingerprint"]) == 64


def test_statistics_count_pictures_and_steps(engine: Engine, client: openai.OpenAI) -> None:
    def stats() -> tuple[int, int, int]:
        statistics = httpx.get(f"{engine.url}/v2/models/{NAME}/stats").json()["model_stats"][0]
        passes = statistics["inference_stats"]["compute_infer"]
        return statistics["inference_count"], statistics["execution_count"], passes["ns"]

    before = stats()
    client.images.generate(model=NAME, prompt="a 3", n=2)
    after = stats()
    assert [now - then for now, then in zip(after[:2], before[:2], strict=True)] == [2, 2 * len(SAMPLER.timesteps)]
    assert after[2] > before[2]


def test_metadata_says_what_it_draws_and_in_what(engine: Engine) -> None:
    metadata = httpx.get(f"{engine.url}/v2/models/{NAME}").json()
    assert metadata["parameters"] == {"executes": "f32", "size": "28x28", "sampling_steps": 3, "labels": list(LABELS)}


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"prompt": "a cat"}, 400, "prompt"),
        ({"prompt": ""}, 400, "prompt"),
        ({"size": "1024x1024"}, 400, "size"),
        ({"response_format": "url"}, 400, "response_format"),
        ({"n": 11}, 400, "n"),
        ({"quality": "hd"}, 400, "quality"),
        ({"num_inference_steps": 3}, 400, "num_inference_steps"),
        ({"model": "other"}, 404, "model"),
    ],
)
def test_bad_requests_name_the_field(engine: Engine, change: dict[str, object], status: int, param: str) -> None:
    answered, body = engine.post("/v1/images/generations", {"model": NAME, "prompt": "a 7", **change})
    assert (answered, body["error"]["param"]) == (status, param)


@pytest.mark.parametrize("damage", ["sampler", "model", "precision"])
def test_what_is_no_generator_is_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    for path in (folder / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if damage == "sampler":
        (tmp_path / FILE).write_text("{}")
    elif damage == "model":
        (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(EngineError, match=r"build it again|f32, bf16"):
        OpenVinoGenerator(tmp_path, "nf4" if damage == "precision" else "f32", 1, LABELS)
