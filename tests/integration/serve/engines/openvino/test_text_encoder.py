"""The embedding engine over HTTP: a tiny encoder through the real method, asked by official clients."""

import base64
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import torch
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.integration.serve.engines.engine import Engine, running, write_manifest
from tests.integration.serve.engines.tiny_encoder import TINY_CONTEXT, make_encoder
from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.methods.registry import find

pytestmark = pytest.mark.integration
NAME = "tiny@baseline"
RECIPE: dict[str, object] = {"kind": "baseline", "dtype": "float32"}
TEXTS = ["w1 w2 w3", "w9", "w5 w6 w7 w8 w1 w2 w3 w4 w5 w6 w7"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def engine(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("artifact")
    made = find("feature-extraction", parse_recipe(RECIPE)).run(job(RECIPE, folder / "model", encoder))
    write_manifest(folder, task="feature-extraction", format=made.format, precision=made.precision)
    with running("openvino.text_encoder", "--artifact", str(folder), "--name", NAME) as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def tensors(engine: Engine) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(engine.address) as connected:
        yield connected


def by_transformers(folder: Path, texts: list[str]) -> np.ndarray:
    """Worked out one text at a time: mean of the hidden states, scaled to length 1."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


def text_input(*texts: str) -> triton.InferInput:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=object))
    return tensor


def test_embeddings_are_those_of_transformers(client: openai.OpenAI, encoder: Path) -> None:
    answer = client.embeddings.create(model=NAME, input=TEXTS)  # base64 on the wire
    rows = np.array([entry.embedding for entry in answer.data])
    np.testing.assert_allclose(rows, by_transformers(encoder, TEXTS), atol=1e-5)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3 + 1 + 11 + 3 * 2


def test_every_form_of_input_and_both_encodings_say_the_same(client: openai.OpenAI, engine: Engine) -> None:
    one = client.embeddings.create(model=NAME, input="w1 w2", encoding_format="float", dimensions=32, user="ada")
    wanted = one.data[0].embedding
    status, answer = engine.post("/v1/embeddings", {"model": NAME, "input": ["w1 w2"], "encoding_format": "base64"})
    assert status == 200
    raw = base64.b64decode(answer["data"][0]["embedding"])
    np.testing.assert_allclose(struct.unpack("<32f", raw), wanted, atol=1e-6)
    assert len(answer["system_fingerprint"]) == 64
    ids = [2, 5, 6, 3]  # what the tokenizer makes of it, with what it puts around
    for given in (ids, [ids]):
        embedding = client.embeddings.create(model=NAME, input=given).data[0].embedding
        np.testing.assert_allclose(embedding, wanted, atol=1e-6)


def test_texts_in_binary_give_embeddings(tensors: triton.InferenceServerClient, encoder: Path) -> None:
    metadata = tensors.get_model_metadata(NAME)
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert metadata["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 32]}]
    assert metadata["parameters"] == {"executes": "f32", "context": TINY_CONTEXT}
    before = tensors.get_inference_statistics(NAME)["model_stats"][0]
    texts = TEXTS * 15  # more than one pass takes
    answer = tensors.infer(NAME, [text_input(*texts)], request_id="seven")
    np.testing.assert_allclose(answer.as_numpy("embedding"), by_transformers(encoder, TEXTS * 15), atol=1e-5)
    assert answer.get_response()["id"] == "seven"
    after = tensors.get_inference_statistics(NAME)["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == len(texts)
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]


def test_json_carries_texts_as_they_are(engine: Engine) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["w1 w2"]}
    status, answer = engine.post(f"/v2/models/{NAME}/infer", {"inputs": [tensor]})
    assert (status, answer["outputs"][0]["shape"]) == (200, [1, 32])


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"input": ""}, "input", "at least one character"),
        ({"input": []}, "input", "at least one text"),
        ({"input": 7}, "input", "7 was sent"),
        ({"input": ["w1", "w1 " * 40]}, "input[1]", f"42 tokens (at most {TINY_CONTEXT}"),
        ({"input": [[1] * 41]}, "input[0]", f"41 tokens (at most {TINY_CONTEXT}"),
        ({"input": [1, 999]}, "input", "no token 999"),
        ({"input": "w1", "dimensions": 16}, "dimensions", "32, or leave it out"),
        ({"input": "w1", "encoding_format": "hex"}, "encoding_format", "hex"),
        ({"input": "w1", "stream": True}, "stream", "not supported here"),
    ],
)
def test_bad_requests_are_a_400_that_names_the_field(
    engine: Engine, fields: dict[str, object], param: str, says: str
) -> None:
    status, answer = engine.post("/v1/embeddings", {"model": NAME, **fields})
    assert (status, answer["error"]["param"]) == (400, param)
    assert says in answer["error"]["message"]
    too_long = "tokens" in says
    assert answer["error"]["code"] == ("context_length_exceeded" if too_long else "invalid_request")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "image"}, "inputs"),
        ({"datatype": "FP32", "data": [1.0]}, "inputs[0].datatype"),
        ({"shape": [1, 1]}, "inputs[0].shape"),
        ({"data": [""]}, "inputs[0].data[0]"),
        ({"data": ["w1 " * 40]}, "inputs[0].data[0]"),
    ],
)
def test_bad_tensors_are_a_400_that_names_the_field(engine: Engine, changes: dict[str, object], field: str) -> None:
    good = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["w1"]}
    status, answer = engine.post(f"/v2/models/{NAME}/infer", {"inputs": [good | changes]})
    assert status == 400
    assert answer["error"].startswith(f"{field}: ")


def test_bytes_that_are_no_text_and_outputs_that_are_none(tensors: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("text", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"\xff\xfe"], dtype=object))
    with pytest.raises(InferenceServerException, match=r"inputs\[0\].data\[0\]: not UTF-8"):
        tensors.infer(NAME, [tensor])
    with pytest.raises(InferenceServerException, match="no output 'scores'"):
        tensors.infer(NAME, [text_input("w1")], outputs=[triton.InferRequestedOutput("scores")])


def test_another_model_is_a_404_in_each_protocols_shape(engine: Engine) -> None:
    status, answer = engine.post("/v1/embeddings", {"model": "tiny", "input": "w1"})
    assert (status, answer["error"]["param"]) == (404, "model")
    status, answer = engine.post("/v2/models/tiny/infer", {"inputs": []})
    assert status == 404
    assert NAME in answer["error"]
