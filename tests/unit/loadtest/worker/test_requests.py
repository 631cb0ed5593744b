"""What is sent is what the protocols ask for: the server's own parser reads the pictures."""

import base64
import json

from loadtest.campaign.plan import Content, Pool
from loadtest.worker.requests import ask
from serve.protocols.open_inference import parse_request

PNG = b"\x89PNG\r\n\x1a\n and the rest \x00\xff"


def text_pool(**facts: object) -> Pool:
    fields: dict[str, object] = {"kind": "text", "model": "smollm2", "task": "made", "contents": (), "max_tokens": 64}
    return Pool.model_validate(fields | facts)


def test_streamed_text_is_pinned_counted_and_never_ends_early() -> None:
    asked = ask(text_pool(ignore_eos=True), Content(example="1", text="Once"), "int8", None)
    body = json.loads(asked.body)
    assert asked.path == "/v1/completions"
    assert body == {
        "model": "smollm2@int8",
        "prompt": "Once",
        "max_tokens": 64,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    assert "x-understudy-label" not in asked.headers


def test_a_routed_label_carries_its_client_and_what_is_right() -> None:
    pool = text_pool(kind="label", max_tokens=1, logit_bias={"17": 100.0, "4": 100.0})
    asked = ask(pool, Content(example="1", text="Review: fine\nSentiment:", label="positive"), None, "client-7")
    body = json.loads(asked.body)
    assert body["model"] == "smollm2"
    assert body["user"] == "client-7"
    assert body["logit_bias"] == {"17": 100.0, "4": 100.0}
    assert (body["max_tokens"], body["temperature"]) == (1, 0)
    assert "stream" not in body
    assert asked.headers["x-understudy-label"] == "positive"
    assert asked.headers["x-understudy-task"] == "made"


def test_a_triplet_is_three_texts_in_one_request() -> None:
    pool = text_pool(kind="triplet", model="minilm", max_tokens=None)
    asked = ask(pool, Content(example="1", texts=("a", "b", "c"), label="second"), "int8", None)
    assert asked.path == "/v1/embeddings"
    assert json.loads(asked.body) == {"model": "minilm@int8", "input": ["a", "b", "c"], "encoding_format": "base64"}
    assert asked.headers["x-understudy-label"] == "second"
    routed = ask(pool, Content(example="1", texts=("a", "b", "c"), label="second"), None, "client-3")
    assert (json.loads(routed.body)["model"], json.loads(routed.body)["user"]) == ("minilm", "client-3")


def test_a_article_is_one_text_in_a_tensor() -> None:
    pool = text_pool(kind="article", model="topics", max_tokens=None)
    asked = ask(pool, Content(example="1", text="grain prices rose", label="grain"), "int8", None)
    assert asked.path == "/v2/models/topics/versions/int8/infer"
    assert asked.headers["x-understudy-label"] == "grain"
    found = parse_request(asked.body)
    assert [(each.name, each.shape, list(each.data)) for each in found.inputs] == [
        ("text", (1,), [b"grain prices rose"])
    ]
    assert [each.name for each in found.outputs] == ["labels"]
    routed = ask(pool, Content(example="1", text="grain", label="grain"), None, "client-3")
    assert (routed.path, routed.headers["x-understudy-client"]) == ("/v2/models/topics/infer", "client-3")


def test_a_picture_is_one_binary_tensor() -> None:
    pool = text_pool(kind="image", model="digits", max_tokens=None)
    content = Content(example="1", png=base64.b64encode(PNG).decode(), label="7")
    asked = ask(pool, content, "bf16", None)
    assert asked.path == "/v2/models/digits/versions/bf16/infer"
    request = parse_request(asked.body, asked.headers["Inference-Header-Content-Length"])
    (tensor,) = request.inputs
    assert tensor.name == "image"
    assert tensor.shape == (1,)
    assert list(tensor.data) == [PNG]
    assert not request.wants_binary("labels")
    routed = ask(pool, content, None, "client-3")
    assert routed.path == "/v2/models/digits/infer"
    assert routed.headers["x-understudy-client"] == "client-3"


def test_a_drawing_is_asked_with_its_seed() -> None:
    pool = Pool.model_validate({"kind": "drawing", "model": "scribe", "task": "digit_prompts", "contents": ()})
    asked = ask(pool, Content(example="1", text="a handwritten 7", seed=41, label="7"), "int8", None)
    assert asked.path == "/v1/images/generations"
    assert json.loads(asked.body) == {
        "model": "scribe@int8",
        "prompt": "a handwritten 7",
        "seed": 41,
        "response_format": "b64_json",
    }
    assert (asked.headers["x-understudy-label"], asked.headers["x-understudy-task"]) == ("7", "digit_prompts")
