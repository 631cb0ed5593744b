"""v2's classification extension on an image engine: the best of each image, scored and named."""

import json
import threading

import numpy as np
import pytest

from serve.engines.base import Floats
from serve.engines.http.images import ImageApi, ranking
from serve.protocols.open_inference import RequestedOutput, Tensor, encode_request, parse_response
from variants.errors import InputError
from variants.vision.preprocess import Preprocess

ROWS = np.asarray([[0.125, 0.5, 0.25, 0.125], [0.0, 0.0, 0.25, 0.75]], np.float32)


class Fixed:
    """Gives the same rows whatever it is shown."""

    platform, executes, computed_ns = "fixed", "f32", 0
    labels: tuple[str, ...] = ("a", "b", "c:d", "e")
    preprocess = Preprocess(size=(2, 2), mean=(0, 0, 0), std=(1, 1, 1))

    def predict(self, pixels: Floats, gone: threading.Event | None = None) -> Floats:
        return ROWS[: len(pixels)]


def ask(outputs: list[RequestedOutput]) -> dict[str, np.ndarray]:
    pixels = Tensor("pixels", "FP32", np.zeros((2, 3, 2, 2), np.float32))
    body, length = encode_request([pixels], binary=True, outputs=outputs)
    return parse_response(*ImageApi(Fixed(), "m").answer(body, str(length)))


@pytest.mark.parametrize("binary", [True, False])
def test_the_best_come_first_and_the_first_of_equals(binary: bool) -> None:
    tensors = ask([RequestedOutput("scores", binary, classification=3), RequestedOutput("labels", binary)])
    assert tensors["scores"].shape == (2, 3)
    assert tensors["scores"].tolist() == [
        [b"0.500000:1:b", b"0.250000:2:c:d", b"0.125000:0:a"],
        [b"0.750000:3:e", b"0.250000:2:c:d", b"0.000000:0:a"],
    ]
    assert tensors["labels"].tolist() == [b"b", b"e"]


def test_without_it_scores_are_numbers() -> None:
    assert np.array_equal(ask([RequestedOutput("scores")])["scores"], ROWS)


def test_there_are_no_more_than_there_are_classes() -> None:
    assert ranking(ROWS, Fixed.labels, 9).data.shape == (2, 4)


def test_labels_cannot_be_ranked() -> None:
    with pytest.raises(InputError, match="not offered") as refused:
        ask([RequestedOutput("labels", classification=3)])
    assert refused.value.field == "outputs[0].parameters.classification"


def test_what_is_asked_for_is_written_as_the_protocol_has_it() -> None:
    body, _ = encode_request(
        [Tensor("x", "FP32", np.zeros(1, np.float32))], binary=False, outputs=[RequestedOutput("scores", None, 5)]
    )
    assert json.loads(body)["outputs"] == [{"name": "scores", "parameters": {"classification": 5}}]
