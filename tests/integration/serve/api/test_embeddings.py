"""Embeddings through Ray Serve, HAProxy and the relay, with the official clients of both protocols."""

import httpx
import numpy as np
import openai
import pytest
import tritonclient.http as triton

from tests.integration.conftest import Served

pytestmark = pytest.mark.integration
TEXTS = ["rates rise again", "rates rise", "wheat harvest"]


@pytest.fixture
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def count(served: Served, name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    series = [line for line in lines if line.startswith(f"{name}{{") and all(label in line for label in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in series)


def test_an_answer_names_its_variant_and_is_counted(served: Served, client: openai.OpenAI) -> None:
    here = {"model": "near", "variant": "int8"}
    before = [count(served, name, **here) for name in ("understudy_prompt_tokens_total", "understudy_requests_total")]
    raw = client.embeddings.with_raw_response.create(model="near@int8", input=TEXTS)
    answer = raw.parse()
    assert (raw.headers["x-understudy-variant"], raw.headers["x-understudy-reason"]) == ("int8", "pinned")
    assert raw.headers["x-understudy-artifact"] == answer.model_extra["system_fingerprint"]
    anchor, near, far = (np.array(entry.embedding) for entry in answer.data)
    assert anchor @ near > anchor @ far
    assert answer.usage.prompt_tokens == 7
    assert count(served, "understudy_prompt_tokens_total", **here) - before[0] == 7
    assert count(served, "understudy_requests_total", **here) - before[1] == 1


def test_a_user_stays_and_a_header_stays_as_well(client: openai.OpenAI) -> None:
    def variant(**options: object) -> tuple[str, str]:
        raw = client.embeddings.with_raw_response.create(model="near", input="a", **options)  # type: ignore[arg-type]
        return raw.headers["x-understudy-variant"], raw.headers["x-understudy-reason"]

    for name in ("ann", "bob"):
        assert len({variant(user=name) for _ in range(5)}) == 1
        assert variant(user=name) == variant(extra_headers={"x-understudy-client": name})
        assert variant(user=name)[1] == "sticky"


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_labelled_triplet_is_scored_and_counted(served: Served, encoding: str) -> None:
    here = {"model": "near", "variant": "int8", "task": "r8_triplets"}

    def outcomes() -> list[float]:
        name = "understudy_labelled_requests_total"
        return [count(served, name, **here, outcome=outcome) for outcome in ("right", "wrong")]

    before = outcomes()
    body = {"model": "near@int8", "input": TEXTS, "encoding_format": encoding}
    for label in ("first", "second", "first"):
        headers = {"x-understudy-label": label, "x-understudy-task": "r8_triplets"}
        assert httpx.post(f"{served.url}/v1/embeddings", json=body, headers=headers).status_code == 200
    alone = {**body, "input": TEXTS[0]}
    assert httpx.post(f"{served.url}/v1/embeddings", json=alone, headers=headers).status_code == 200
    assert [now - then for now, then in zip(outcomes(), before, strict=True)] == [2, 1]


def test_tensors_come_back_from_the_version_that_was_asked(served: Served, client: openai.OpenAI) -> None:
    tensors = triton.InferenceServerClient(served.url.removeprefix("http://"))
    metadata = tensors.get_model_metadata("near", "int8")
    assert (metadata["name"], metadata["inputs"][0]["name"]) == ("near", "text")
    tensor = triton.InferInput("text", [3], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in TEXTS], dtype=object))
    vectors = tensors.infer("near", [tensor], model_version="int8").as_numpy("embedding")
    wanted = [entry.embedding for entry in client.embeddings.create(model="near@int8", input=TEXTS).data]
    np.testing.assert_allclose(vectors, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "param", "says"),
    [
        ({"input": "x"}, 400, "model", "models are echo, bands, near"),
        ({"model": "gpt", "input": "x"}, 404, "model", "there is no model"),
        ({"model": "echo", "input": "x"}, 400, "model", "/v1/completions"),
        ({"model": "bands", "input": "x"}, 400, "model", "/v2/models/bands/infer"),
        ({"model": "near", "input": ""}, 400, "input", "at least one character"),
        ({"model": "near", "input": "word " * 3000}, 400, "input", "at most 2048"),
        ({"model": "near", "input": "x", "stream": True}, 400, "stream", "not supported"),
    ],
)
def test_bad_requests_name_the_field_and_the_mend(
    served: Served, body: dict[str, object], status: int, param: str, says: str
) -> None:
    answer = httpx.post(f"{served.url}/v1/embeddings", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert says in error["message"]
