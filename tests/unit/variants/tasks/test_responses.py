"""What an answer says, by the kind of the task; anything but a whole answer is a BadAnswer."""

import json

import pytest

from variants.errors import InputError
from variants.tasks.responses import BadAnswer, read_answer, read_logprobs


@pytest.mark.parametrize(
    "frame",
    [
        {"choices": 3},
        {"choices": [3]},
        {"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1}},
        {"choices": [], "usage": 7},
    ],
)
def test_json_of_another_shape_is_no_answer(frame: dict[str, object]) -> None:
    with pytest.raises(BadAnswer):
        read_answer("text", json.dumps(frame).encode())
    with pytest.raises(BadAnswer):
        read_answer("image", json.dumps({"outputs": [frame, 3]}).encode())


def test_a_completion() -> None:
    body = b'{"choices":[{"text":" positive"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
    answer = read_answer("text", body)
    assert (answer.text, answer.prompt_tokens, answer.output_tokens) == (" positive", 9, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"text":"a"}]}', b"\xff"])
def test_what_is_no_completion_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer("text", body)


def test_the_top_label_of_a_picture() -> None:
    body = b'{"outputs":[{"name":"scores","data":[0.1]},{"name":"labels","datatype":"BYTES","data":["7"]}]}'
    assert read_answer("image", body).text == "7"
    with pytest.raises(BadAnswer, match="labels"):
        read_answer("image", b'{"outputs":[{"name":"scores","data":[0.1]}]}')


def embeddings(*vectors: object) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 12, "total_tokens": 12}}).encode()


def test_the_nearer_of_two_texts() -> None:
    answer = read_answer("triplet", embeddings([1, 0], [0, 1], [1, 1]))
    assert (answer.text, answer.prompt_tokens, answer.output_tokens) == ("second", 12, None)
    assert read_answer("triplet", embeddings("AACAPwAAAAA=", "AACAPwAAAAA=", "AAAAAAAAgD8=")).text == "first"


@pytest.mark.parametrize("body", [b"{}", b'{"data":[]}', embeddings([1, 0], [0, 1]), embeddings("%", "%", "%")])
def test_what_is_no_triplet_of_embeddings_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer("triplet", body)


def test_the_cosine_of_a_pair() -> None:
    answer = read_answer("pair", embeddings([3, 4], [4, 3]))
    assert (float(answer.text), answer.prompt_tokens) == (pytest.approx(0.96), 12)


@pytest.mark.parametrize(
    "body", [embeddings([1, 0]), embeddings([1], [1], [1]), embeddings([1, 0], [0, 0]), embeddings([1], [1, 0])]
)
def test_what_has_no_cosine_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_answer("pair", body)


def test_the_best_labels_are_read_one_a_line() -> None:
    body = b'{"outputs":[{"name":"scores","data":["0.9:7:n7 tench: a fish","0.1:3:three"]}]}'
    assert read_answer("ranked", body).text == "n7 tench: a fish\nthree"
    with pytest.raises(BadAnswer, match="another shape"):
        read_answer("ranked", b'{"outputs":[{"name":"scores","data":[0.9]}]}')


def test_log_probabilities_are_those_of_all_tokens_but_the_first() -> None:
    positions = [None, {"17": {"logprob": -0.5}}, {"4": {"logprob": -2}}]
    assert read_logprobs(json.dumps({"choices": [{"prompt_logprobs": positions}]}).encode()) == [-0.5, -2.0]
    with pytest.raises(BadAnswer, match="gave no prompt_logprobs"):
        read_logprobs(b'{"choices":[{"text":"a"}]}')


class OneReader:
    """A classifier that knows one picture."""

    def read(self, picture: bytes) -> str:
        if picture != b"PNG":
            raise InputError("no picture", field="picture")
        return "7"


def drawing(data: object) -> bytes:
    return json.dumps({"created": 1, "data": data}).encode()


def test_a_drawing_says_what_the_classifier_reads_in_it() -> None:
    assert read_answer("drawing", drawing([{"b64_json": "UE5H"}]), OneReader()).text == "7"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (drawing([]), "another shape: IndexError"),
        (drawing([{"url": "http://x"}]), "another shape: KeyError: 'b64_json'"),
        (drawing([{"b64_json": "UE5H!"}]), "another shape"),
        (drawing([{"b64_json": "AAAA"}]), "no picture"),
        (drawing([{"b64_json": "UE5H"}])[:20], "not JSON"),
    ],
)
def test_what_is_no_drawing_is_a_bad_answer(data: bytes, says: str) -> None:
    with pytest.raises(BadAnswer, match=says):
        read_answer("drawing", data, OneReader())  # type: ignore[arg-type]
