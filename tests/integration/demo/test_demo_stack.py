"""The demo's own stack with real weights, served as a user serves it, asked by real clients."""

import math
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import openai
import psutil
import pytest
import tritonclient.http as triton
from safetensors import safe_open

from deploy.prometheus.local import start_prometheus
from tests.integration.serve.cluster.test_ray_environment import is_loopback, listeners
from tests.integration.serve.test_metrics import wait_for
from tests.support.programs import need
from variants import tasks
from variants.artifacts.store import Store
from variants.home import home
from variants.metrics.scoring import first_tokens, text_matches

pytestmark = pytest.mark.integration
TEXT, IMAGE = ("baseline", "int8", "nf4"), ("baseline", "int8", "pruned")
LABELLING = (*TEXT, "lora")
"""An adapter for reviews need not know the capital of France."""


@pytest.fixture
def client(demo: tuple[str, int]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{demo[0]}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("variant", TEXT)
def test_every_text_variant_chats_and_streams_the_same_answer(client: openai.OpenAI, variant: str) -> None:
    ask = {
        "model": f"smollm2@{variant}",
        "messages": [{"role": "user", "content": "What is the capital of France? Answer in one word."}],
        "max_tokens": 12,
        "temperature": 0,
    }
    raw = client.chat.completions.with_raw_response.create(**ask)
    whole = raw.parse()
    assert "Paris" in whole.choices[0].message.content
    assert raw.headers["x-understudy-artifact"] == whole.system_fingerprint
    chunks = list(client.chat.completions.create(**ask, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "Paris" in text
    assert whole.system_fingerprint in {chunk.system_fingerprint for chunk in chunks}


@pytest.mark.parametrize("variant", TEXT)
def test_sampling_fields_reach_every_engine(client: openai.OpenAI, variant: str) -> None:
    ask = {"model": f"smollm2@{variant}", "prompt": "Once upon a time", "max_tokens": 16}
    seeded = [client.completions.create(**ask, temperature=1, seed=7).choices[0].text for _ in range(2)]
    assert seeded[0] == seeded[1]
    greedy = client.completions.create(**ask, temperature=0, logprobs=1)
    assert len(greedy.choices[0].logprobs.token_logprobs) == greedy.usage.completion_tokens
    assert all(logprob <= 0 for logprob in greedy.choices[0].logprobs.token_logprobs)
    stop = greedy.choices[0].text[4:8]
    assert stop not in client.completions.create(**ask, temperature=0, stop=[stop]).choices[0].text


@pytest.mark.parametrize("variant", LABELLING)
def test_labels_by_likelihood_beat_chance(demo: tuple[str, int], variant: str) -> None:
    url, name = demo[0], f"smollm2@{variant}"
    task = tasks.get("rotten_tomatoes")
    examples = task.examples("train", 60)
    encoded = [
        httpx.post(f"{url}/tokenize", json={"model": name, "prompt": label, "add_special_tokens": False}).json()
        for label in task.labels
    ]
    bias = {str(token): 100 for token in first_tokens([answer["tokens"] for answer in encoded], task.labels)}
    right = 0
    for example in examples:
        body = {"model": name, "prompt": example.input, "max_tokens": 1, "temperature": 0, "logit_bias": bias}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60).json()
        right += text_matches(answer["choices"][0]["text"], example.label)
    assert right > 38  # 60 coin tosses give more in under 2 of 100 runs


@pytest.mark.parametrize("variant", IMAGE)
def test_every_image_variant_reads_digits(demo: tuple[str, int], variant: str) -> None:
    client = triton.InferenceServerClient(demo[0].removeprefix("http://"))
    metadata = client.get_model_metadata("digits", variant)
    assert {tensor["name"] for tensor in metadata["inputs"]} == {"image", "pixels"}
    examples = tasks.get("mnist").examples("test", 50)
    tensor = triton.InferInput("image", [len(examples)], "BYTES")
    tensor.set_data_from_numpy(np.array([example.input for example in examples], dtype=object))
    answer = client.infer("digits", [tensor], model_version=variant)
    labels = [label.decode() for label in answer.as_numpy("labels")]
    assert sum(label == example.label for label, example in zip(labels, examples, strict=True)) >= 45
    assert np.allclose(answer.as_numpy("scores").sum(axis=1), 1, atol=1e-3)


def test_refusals_of_real_engines_name_what_is_wrong(demo: tuple[str, int], client: openai.OpenAI) -> None:
    for variant in TEXT:
        with pytest.raises(openai.BadRequestError, match="2048") as long:
            client.completions.create(model=f"smollm2@{variant}", prompt="word " * 3000, max_tokens=1)
        assert (long.value.code, long.value.type) == ("context_length_exceeded", "invalid_request_error")
        hot = {"temperature": "hot", "max_tokens": 1}
        with pytest.raises(
            openai.BadRequestError, match="unable to parse string as a number, and 'hot' was sent"
        ) as wrong:
            client.completions.create(model=f"smollm2@{variant}", prompt="word", extra_body=hot)
        assert (wrong.value.code, wrong.value.param) == ("invalid_request", "temperature")
        with pytest.raises(openai.BadRequestError, match="max_tokens") as none:
            client.completions.create(model=f"smollm2@{variant}", prompt="word", max_tokens=-1)
        assert none.value.param == "max_tokens"
    not_an_image = {"name": "image", "shape": [1], "datatype": "BYTES", "data": ["bm90IGFuIGltYWdl"]}
    answer = httpx.post(f"{demo[0]}/v2/models/digits/infer", json={"inputs": [not_an_image]})
    assert answer.status_code == 400
    assert "image" in answer.json()["error"]


def test_the_baseline_is_what_its_package_carries(demo: tuple[str, int]) -> None:
    keys = httpx.get(f"{demo[0]}/admin/v1/stack", timeout=30).json()["artifacts"]
    artifact = Store(home()).open(keys["smollm2@baseline"])
    assert "Q4_1" in artifact.manifest.note
    with safe_open(artifact.model_path / "model.safetensors", "np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118  # it is no mapping
    assert sum(math.prod(shape) for shape in shapes) == 134_515_008


def test_nothing_listens_beyond_loopback(demo: tuple[str, int]) -> None:
    addresses = listeners(demo[1])
    assert len(addresses) > 10
    assert [pair for pair in addresses if not is_loopback(pair[0])] == []


def test_an_engine_core_is_its_own_worker_and_has_one_process_group(demo: tuple[str, int]) -> None:
    processes = psutil.Process(demo[1]).children(recursive=True)
    assert not [each for each in processes if each.name().startswith("VLLM::Worker")]
    cores = [each for each in processes if each.name().startswith("VLLM::EngineCor")]
    assert cores
    for core in cores:
        threads = [Path(f"/proc/{core.pid}/task/{each.id}/comm").read_text().strip() for each in core.threads()]
        assert threads.count("gloo_tcp_loop") == 1


def test_prometheus_sees_every_variant(demo: tuple[str, int], tmp_path: Path) -> None:
    need("prometheus")
    queries = [f'understudy_variant_ready{{model="smollm2",variant="{name}"}} == 1' for name in TEXT]
    queries += [f'understudy_engine_memory_bytes{{model="digits",variant="{name}"}} > 1e6' for name in IMAGE]
    with ExitStack() as children:
        prometheus = start_prometheus(children, demo[0], tmp_path / "prometheus")
        assert prometheus is not None
        assert set(wait_for(prometheus, queries)) == set(queries)


def test_the_official_client_embeds(client: openai.OpenAI) -> None:
    texts = ["oil prices rose on supply fears", "crude climbed as supplies tightened", "the orchestra played Mahler"]
    for variant in ("baseline", "int8"):
        answer = client.embeddings.create(model=f"minilm@{variant}", input=texts)
        vectors = np.array([entry.embedding for entry in answer.data])
        assert vectors.shape == (3, 384)
        near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
        assert near > far + 0.2
