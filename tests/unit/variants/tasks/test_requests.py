"""What evaluation asks, by the kind of the task; what a load test adds is in `tests/unit/loadtest/worker`."""

import json

import pytest

from serve.protocols.open_inference import RequestedOutput, parse_request
from variants.tasks.requests import label_bias, request_for


def test_a_label_is_one_token_among_those_of_the_labels() -> None:
    request = request_for("text", "m@int8", "Review: fine", {"logit_bias": label_bias([[7, 1], [9]], ["a", "b"])})
    assert request.path == "/v1/completions"
    assert json.loads(request.body) == {
        "model": "m@int8",
        "prompt": "Review: fine",
        "max_tokens": 1,
        "temperature": 0,
        "logit_bias": {"7": 100, "9": 100},
    }
    with pytest.raises(ValueError, match="labels share their first token: a, b"):
        label_bias([[7, 1], [7]], ["a", "b"])


def test_a_passage_is_asked_for_its_log_probabilities() -> None:
    body = json.loads(request_for("passage", "m", "Once upon a time").body)
    assert (body["prompt"], body["max_tokens"], body["prompt_logprobs"]) == ("Once upon a time", 1, 0)


def test_the_five_best_labels_are_asked_by_the_classification_extension() -> None:
    asked = request_for("ranked", "m@int8", b"JPEG")
    assert asked.path == "/v2/models/m@int8/infer"
    message = parse_request(asked.body, asked.headers["Inference-Header-Content-Length"])
    assert message.outputs == (RequestedOutput("scores", classification=5),)
    assert list(message.inputs[0].data) == [b"JPEG"]


@pytest.mark.parametrize(("kind", "given"), [("image", b"PNG"), ("boxes", b"PNG"), ("article", "wheat")])
def test_every_output_is_asked_where_none_is_named(kind: str, given: str | bytes) -> None:
    asked = request_for(kind, "m", given)
    message = parse_request(asked.body, asked.headers.get("Inference-Header-Content-Length"))
    assert message.outputs == ()
