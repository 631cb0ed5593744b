"""OpenAI's API through Ray Serve, HAProxy and the relay, with the official client."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.integration.conftest import Served

pytestmark = pytest.mark.integration
MESSAGES: Any = [{"role": "user", "content": "alpha beta gamma"}]


@pytest.fixture
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_models_are_listed_routed_and_pinned(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == [
        *("echo", "echo@baseline", "echo@int8"),
        *("bands", "bands@baseline"),
        *("near", "near@baseline", "near@int8"),
    ]


def test_chat_names_its_variant_and_build(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="echo@int8", messages=MESSAGES, max_tokens=4)
    answer = raw.parse()
    assert raw.headers["x-understudy-variant"] == "int8"
    assert raw.headers["x-understudy-reason"] == "pinned"
    assert raw.headers["x-understudy-artifact"] == answer.system_fingerprint
    assert len(raw.headers.get_list("x-request-id")) == 1
    assert answer.usage.completion_tokens == 4


def test_a_client_changes_no_setting_of_ray_serve(served: Served) -> None:
    """Serve itself would end the first two with a text of its own, and fail with 500 at the others."""
    for name, value in (
        (b"x-request-timeout-seconds", b"0.000001"),
        (b"x-request-disconnect-disabled", b"?0"),
        (b"x-request-timeout-seconds", b"\xff"),
        (b"serve_multiplexed_model_id", b"\xff"),
        (b"x-session-id", b"\xff"),
    ):
        body = {"model": "echo", "messages": MESSAGES, "max_tokens": 4}
        answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=[(name, value)], timeout=60)
        assert answer.status_code == 200, (name, value, answer.text)


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream_shows_usage_only_where_asked_and_always_its_fingerprint(
    client: openai.OpenAI, wants_usage: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    chunks = list(
        client.chat.completions.create(
            model="echo", messages=MESSAGES, max_tokens=6, temperature=0, stream=True, **options
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = client.chat.completions.create(model="echo", messages=MESSAGES, max_tokens=6, temperature=0)
    assert text == whole.choices[0].message.content != ""
    assert any(chunk.usage for chunk in chunks) is wants_usage
    assert all(chunk.choices for chunk in chunks) is not wants_usage
    assert any(chunk.system_fingerprint for chunk in chunks)


def test_a_user_stays_and_a_header_stays_as_well(client: openai.OpenAI) -> None:
    def variant(**options: Any) -> tuple[str, str]:
        raw = client.completions.with_raw_response.create(model="echo", prompt="a b", max_tokens=1, **options)
        return raw.headers["x-understudy-variant"], raw.headers["x-understudy-reason"]

    for name in ("ann", "bob"):
        assert len({variant(user=name) for _ in range(5)}) == 1
        assert variant(user=name) == variant(extra_body={"safety_identifier": name})
        assert variant(user=name) == variant(user=name, extra_body={"safety_identifier": "another"})
        assert variant(user=name) == variant(extra_headers={"x-understudy-client": name})
        assert variant(user=name)[1] == "sticky"


def test_one_model_is_found_by_each_of_its_names(client: openai.OpenAI) -> None:
    digest = client.chat.completions.create(model="echo@int8", messages=MESSAGES, max_tokens=1).system_fingerprint
    for name in ("echo", "echo@int8", f"echo@int8:{digest[:8]}"):
        assert client.models.retrieve(name).id == name
    for name in ("gpt", "echo@int3", "echo@int8:ffffffff"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)


def test_a_user_that_is_no_text_is_refused(served: Served) -> None:
    body = b'{"model": "echo", "prompt": "x", "max_tokens": 1, "user": "\\ud800"}'
    answer = httpx.post(f"{served.url}/v1/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "user"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/tokenize"])
def test_null_fields_ask_for_nothing(served: Served, path: str) -> None:
    nulls: dict[str, Any] = dict.fromkeys(("encoding_format", "dimensions", "user", "stream", "a_field_of_tomorrow"))
    body = nulls | ({"model": "near", "input": ["hello"]} if "embed" in path else {"model": "echo", "prompt": "a b"})
    answer = httpx.post(f"{served.url}{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert "embed" not in path or isinstance(answer.json()["data"][0]["embedding"], list)


def test_a_label_on_what_has_no_answer_is_of_no_account(served: Served) -> None:
    answer = httpx.post(
        f"{served.url}/tokenize", json={"model": "echo", "prompt": "a b"}, headers={"x-understudy-label": "a"}
    )
    assert answer.json()["count"] == len(answer.json()["tokens"])


def test_the_clients_request_id_is_replaced(served: Served) -> None:
    answer = httpx.get(f"{served.url}/v1/models", headers={"x-request-id": "mine"})
    ids = answer.headers.get_list("x-request-id")
    assert len(ids) == 1
    assert ids != ["mine"]


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        (b"{", 400, None, "not JSON"),
        (b"[]", 400, None, "not a JSON object"),
        (b"[" * 100_000, 400, None, "lists and objects"),
        (b'{"prompt": "x"}', 400, "model", "models are echo, bands"),
        (b'{"model": 7, "prompt": "x"}', 400, "model", "send a str"),
        (b'{"model": "gpt", "prompt": "x"}', 404, "model", "models are echo, bands"),
        (b'{"model": "echo@int3", "prompt": "x"}', 404, "model", "variants are baseline, int8"),
        (b'{"model": "echo@int8:ffffffff", "prompt": "x"}', 404, "model", "the build that is live is"),
        (b'{"model": "bands", "prompt": "x"}', 400, "model", "/v2/models/bands/infer"),
        (b'{"model": "near", "prompt": "x"}', 400, "model", "/v1/embeddings"),
        (b'{"model": "echo", "prompt": "x", "stream": "yes"}', 400, "stream", "send a bool"),
        (
            b'{"model": "echo", "prompt": "x", "stream": true, "stream_options": {"include_usage": "no"}}',
            400,
            "stream_options.include_usage",
            "send a bool",
        ),
        (b'{"model": "echo@", "prompt": "x"}', 404, "model", "names no variant"),
        (b'{"model": "echo@int8:", "prompt": "x"}', 404, "model", "names no build"),
    ],
)
def test_bad_requests_name_the_field_and_the_mend(
    served: Served, body: bytes, status: int, param: str | None, says: str
) -> None:
    answer = httpx.post(f"{served.url}/v1/completions", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert says in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_however_deep_a_body_is_nested_it_is_the_clients_fault(served: Served) -> None:
    """Some depths can be parsed but not written again, because more of the call stack is in use then."""
    with httpx.Client() as client:
        for depth in range(700, 1000, 4):
            body = b'{"model": "echo", "prompt": ' + b"[" * depth + b"]" * depth + b"}"
            assert client.post(f"{served.url}/v1/completions", content=body).status_code == 400, depth


def test_the_engines_own_refusals_pass_unchanged(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="echo", prompt="word " * 4000, max_tokens=1)
    assert "2048" in str(refused.value)


def test_unknown_paths_and_methods_keep_the_protocols_shape(served: Served) -> None:
    assert httpx.get(f"{served.url}/v1/nothing").json()["error"]["code"] == "not_found"
    assert httpx.get(f"{served.url}/v1/completions").status_code == 405
    assert isinstance(httpx.get(f"{served.url}/v2/nothing").json()["error"], str)


def test_a_labelled_request_is_scored_and_counted(served: Served) -> None:
    def count(outcome: str) -> float:
        wanted = f'understudy_labelled_requests_total{{model="echo",outcome="{outcome}",task="r8",variant="int8"}}'
        lines = httpx.get(f"{served.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))

    before = count("right"), count("wrong")
    body = {"model": "echo@int8", "prompt": "yes indeed", "max_tokens": 1, "temperature": 0}
    for label in ("yes", "no", "yes"):
        headers = {"x-understudy-label": label, "x-understudy-task": "r8"}
        answer = httpx.post(f"{served.url}/v1/completions", content=json.dumps(body), headers=headers)
        assert answer.json()["choices"][0]["text"].strip().startswith("yes")
    assert (count("right") - before[0], count("wrong") - before[1]) == (2, 1)
