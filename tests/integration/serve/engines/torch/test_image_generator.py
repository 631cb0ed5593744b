"""The engine of diffusers' pipelines over HTTP, asked by the official client."""

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

from serve.engines.artifact import open_artifact
from serve.engines.torch.image_generator import TorchGenerator
from tests.integration.serve.engines.engine import Engine, running, write_manifest
from tests.support.pipelines import write_pipeline
from variants.errors import EngineError, SourceError
from variants.vision.diffusion_pipeline import Size

pytestmark = pytest.mark.integration
NAME = "painter@baseline"
PATH = "/v1/images/generations"
SMALL = {"model": NAME, "prompt": "a lighthouse", "size": "32x48", "num_inference_steps": 2, "seed": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painter")
    write_pipeline(folder / "model")
    write_manifest(folder, task="image-generation", precision="f32")
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    with running("torch.image_generation", "--artifact", str(folder), "--name", NAME) as started:
        yield started


def pictures(document: dict[str, Any]) -> list[np.ndarray]:
    data = [base64.b64decode(each["b64_json"]) for each in document["data"]]
    return [np.asarray(Image.open(io.BytesIO(each))) for each in data]


def passes(engine: Engine) -> int:
    statistics = httpx.get(f"{engine.url}/v2/models/{NAME}/stats").json()["model_stats"][0]
    return int(statistics["execution_count"])


def test_the_official_client_gets_the_picture_that_the_model_draws(engine: Engine, folder: Path) -> None:
    client = openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)
    answer = client.images.generate(
        model=NAME, prompt="a lighthouse", n=2, size="auto", extra_body={"seed": 5, "num_inference_steps": 3}
    )
    model = TorchGenerator(open_artifact(folder), 1)
    for seed, picture in zip((5, 6), pictures(answer.model_dump()), strict=True):
        assert np.array_equal(picture, model.draw("a lighthouse", seed, Size(64, 64), 3))
    assert len(answer.model_extra["system_fingerprint"]) == 64


def test_a_seed_gives_the_same_picture_and_another_one_does_not(engine: Engine) -> None:
    first, again, other = (
        pictures(engine.post(PATH, SMALL | {"seed": seed})[1])[0] for seed in (2**63 - 1, 2**63 - 1, 6)
    )
    assert first.shape == (48, 32, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_metadata_and_statistics(engine: Engine) -> None:
    metadata = httpx.get(f"{engine.url}/v2/models/{NAME}").json()
    assert metadata["platform"] == "torch"
    assert metadata["parameters"] == {"executes": "f32", "size": "64x64", "multiple_of": 4, "most_steps": 100}
    before = passes(engine)
    engine.post(PATH, SMALL | {"n": 2})
    assert passes(engine) - before == 4


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"size": "128x128"}, "size"),
        ({"size": "30x32"}, "size"),
        ({"size": "0x32"}, "size"),
        ({"size": "big"}, "size"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 101}, "num_inference_steps"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "abcd " * 20}, "prompt"),
        ({"n": 11}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"guidance_scale": 3}, "guidance_scale"),
    ],
)
def test_bad_requests_name_the_field(engine: Engine, change: dict[str, object], param: str) -> None:
    status, body = engine.post(PATH, SMALL | change)
    assert (status, body["error"]["param"]) == (400, param)


def test_a_client_that_leaves_ends_the_drawing(engine: Engine) -> None:
    before = passes(engine)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(engine.url + PATH, json=SMALL | {"n": 10, "size": "64x64", "num_inference_steps": 100}, timeout=0.5)
    assert engine.post(PATH, SMALL)[0] == 200
    assert passes(engine) - before < 900


def test_what_is_no_pipeline_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"model_index\.json cannot be read"):
        TorchGenerator(open_artifact(tmp_path), 1)
    other = tmp_path / "other"
    (other / "model").mkdir(parents=True)
    write_manifest(other, task="image-generation", precision="int4")
    with pytest.raises(EngineError, match="f32, bf16, int8-dynamic"):
        TorchGenerator(open_artifact(other), 1)
