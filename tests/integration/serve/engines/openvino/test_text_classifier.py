"""The text classifiers' engine over HTTP: a tiny BERT through the real method, asked by the official client."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from serve.engines.http.text_classes import build
from tests.integration.serve.engines.engine import Engine, running, write_manifest
from tests.integration.serve.engines.openvino.test_text_encoder import text_input
from tests.integration.serve.engines.tiny_encoder import make_classifier
from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.errors import EngineError
from variants.methods.registry import find

pytestmark = pytest.mark.integration
NAME = "tiny@baseline"
RECIPE: dict[str, object] = {"kind": "baseline", "dtype": "float32"}
TEXTS = ["w1 w2 w3", "w9", "w5 w6 w7 w8 w1 w2 w3 w4 w5 w6 w7"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def engine(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("artifact")
    made = find("text-classification", parse_recipe(RECIPE)).run(job(RECIPE, folder / "model", classifier))
    write_manifest(folder, task="text-classification", format="openvino", labels=made.labels)
    with running("openvino.text_classifier", "--artifact", str(folder), "--name", NAME) as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(engine.address) as connected:
        yield connected


def by_transformers(folder: Path, texts: list[str]) -> np.ndarray:
    """Probabilities, worked out one text at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(0).numpy() for text in texts]
    return np.stack(rows)


def test_scores_are_those_of_transformers_and_labels_the_highest(
    client: triton.InferenceServerClient, classifier: Path
) -> None:
    before = client.get_inference_statistics(NAME)["model_stats"][0]
    texts = TEXTS * 15  # more than one pass takes
    answer = client.infer(NAME, [text_input(*texts)], request_id="seven")
    wanted = by_transformers(classifier, TEXTS)
    scores = answer.as_numpy("scores")
    assert (scores.dtype, scores.shape) == (np.float32, (45, 3))
    np.testing.assert_allclose(scores, np.tile(wanted, (15, 1)), atol=1e-5)
    names = [b"cat", b"dog", b"fox"]
    assert answer.as_numpy("labels").tolist() == [names[row.argmax()] for row in wanted] * 15
    assert answer.get_response()["id"] == "seven"
    after = client.get_inference_statistics(NAME)["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 45


def test_metadata_says_what_goes_in_and_what_comes_out(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata(NAME)
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert metadata["outputs"] == [
        {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "labels", "datatype": "BYTES", "shape": [-1]},
    ]
    assert metadata["parameters"] == {"executes": "f32", "context": 64}


def test_only_what_is_asked_for_is_sent_and_what_does_not_exist_is_refused(
    client: triton.InferenceServerClient,
) -> None:
    answer = client.infer(NAME, [text_input("w1")], outputs=[triton.InferRequestedOutput("labels", binary_data=False)])
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["labels"]
    with pytest.raises(InferenceServerException, match="no output 'embedding'"):
        client.infer(NAME, [text_input("w1")], outputs=[triton.InferRequestedOutput("embedding")])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "image"}, "inputs"),
        ({"data": [""]}, "inputs[0].data[0]"),
        ({"data": ["w1 " * 63]}, "inputs[0].data[0]"),
    ],
)
def test_bad_tensors_are_a_400_that_names_the_field(engine: Engine, changes: dict[str, object], field: str) -> None:
    good = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["w1"]}
    status, answer = engine.post(f"/v2/models/{NAME}/infer", {"inputs": [good | changes]})
    assert status == 400
    assert answer["error"].startswith(f"{field}: ")


def test_as_many_labels_as_classes_or_no_start(classifier: Path) -> None:
    from serve.engines.scripted.embedder import ScriptedClassifier

    model = ScriptedClassifier(lambda: None, 0.0, 64, 3)
    for labels, says in ((("a", "b"), "2 labels for 3 classes"), (None, "no labels for 3 classes")):
        with pytest.raises(EngineError, match=says):
            build(model, labels, NAME)
