"""Image generation through Ray Serve, HAProxy and the relay, with the official client and a labelled campaign.
Scores must equal offline evaluation. The drawings are known: one variant draws 2 of 10 digits wrong."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from loadtest.campaign.schema import parse_campaign
from loadtest.results.records import Record, read_lines
from loadtest.results.summary import summarise
from loadtest.worker.parent import run
from serve.config.snapshot import build_snapshot
from serve.evaluation.evaluate import card_of
from serve.evaluation.measure import measure
from tests.integration.conftest import Served
from tests.integration.serve.api.test_embeddings import count
from tests.support.drawing import VARIANTS, drawing_artifacts, drawing_stack
from tests.support.processes import server
from variants import tasks
from variants.home import home
from variants.progress import NoProgress
from variants.tasks.digit_classifier.store import load_or_train

pytestmark = pytest.mark.integration
N = 60
CAMPAIGN = {
    "schema": 1,
    "name": "drawn",
    "limit_s": 90,
    "timeout_s": 10,
    "mixed": {
        "seconds": 1,
        "clients": 20,
        "arrivals": [{"model": "scribe", "task": "digit_prompts", "ask": "label", "per_s": 20}],
    },
    "accuracy": {"clients": 2, "limit_s": 60, "tests": [{"model": "scribe", "task": "digit_prompts", "n": N}]},
    "speed": {
        "clients": 2,
        "tests": [
            {
                "model": "scribe",
                "task": "digit_prompts",
                "slices": 3,
                "slice_s": 0.3,
                "lead_in_s": 0.1,
                "warm_up_s": 0.1,
            }
        ],
    },
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("drawing")
    drawing_artifacts(folder)  # here, because the classifier and the digits are in the current home
    (folder / "judges").symlink_to(home() / "judges")
    with server(folder, "tests.support.serve_drawing", "{port}") as (url, _):
        yield url, folder


@pytest.fixture
def client(drawn: tuple[str, Path]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{drawn[0]}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_each_variant_draws_what_it_knows(client: openai.OpenAI, variant: str) -> None:
    for label, known in enumerate(VARIANTS[variant]):
        ask = {"model": f"scribe@{variant}", "prompt": f"a handwritten {label}", "response_format": "b64_json"}
        raw = client.images.with_raw_response.generate(**ask, extra_body={"seed": label})
        answer = raw.parse()
        assert load_or_train().read(base64.b64decode(answer.data[0].b64_json)) == known
        assert (raw.headers["x-understudy-variant"], raw.headers["x-understudy-reason"]) == (variant, "pinned")
        assert raw.headers["x-understudy-artifact"] == answer.model_extra["system_fingerprint"]


def test_the_same_seed_is_the_same_picture_and_a_user_stays(client: openai.OpenAI) -> None:
    for user in ("ann", "bob"):
        raw = [
            client.images.with_raw_response.generate(model="scribe", prompt="a 5", user=user, extra_body={"seed": 9})
            for _ in range(3)
        ]
        assert len({answer.headers["x-understudy-variant"] for answer in raw}) == 1
        assert {answer.headers["x-understudy-reason"] for answer in raw} == {"sticky"}
        assert len({answer.parse().data[0].b64_json for answer in raw}) == 1


def test_a_labelled_request_is_scored_as_it_passes(drawn: tuple[str, Path]) -> None:
    here = {"model": "scribe", "variant": "int8", "task": "digit_prompts"}

    def outcomes() -> list[float]:
        name = "understudy_labelled_requests_total"
        return [count(Served(drawn[0], 0), name, **here, outcome=outcome) for outcome in ("right", "wrong")]

    before = outcomes()
    for label in ("7", "8", "9"):
        headers = {"x-understudy-label": label, "x-understudy-task": "digit_prompts"}
        body = {"model": "scribe@int8", "prompt": f"a handwritten {label}"}
        assert httpx.post(f"{drawn[0]}/v1/images/generations", json=body, headers=headers).status_code == 200
    assert [now - then for now, then in zip(outcomes(), before, strict=True)] == [1, 2]


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "says"),
    [
        ("/v1/images/generations", {"prompt": "a 7"}, 400, "model", "models are scribe"),
        ("/v1/images/generations", {"model": "dall-e", "prompt": "a 7"}, 404, "model", "there is no model"),
        ("/v1/images/generations", {"model": "scribe", "prompt": "a cat"}, 400, "prompt", "a handwritten 7"),
        ("/v1/images/generations", {"model": "scribe", "prompt": "a 7", "size": "9x9"}, 400, "size", "28x28"),
        ("/v1/completions", {"model": "scribe", "prompt": "x"}, 400, "model", "/v1/images/generations"),
        ("/v1/embeddings", {"model": "scribe", "input": "x"}, 400, "model", "/v1/images/generations"),
    ],
)
def test_bad_requests_name_the_field_and_the_mend(
    drawn: tuple[str, Path], path: str, body: dict[str, object], status: int, param: str, says: str
) -> None:
    answer = httpx.post(drawn[0] + path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert says in error["message"]


def test_tensors_are_not_for_a_model_that_draws(drawn: tuple[str, Path]) -> None:
    assert httpx.get(f"{drawn[0]}/v2/models/scribe").json()["parameters"]["sampling_steps"] == 3
    answer = httpx.post(f"{drawn[0]}/v2/models/scribe/infer", json={"inputs": []})
    assert (answer.status_code, "/v1/images/generations" in answer.json()["error"]) == (400, True)


def test_a_labelled_campaign_scores_as_offline_evaluation_does(drawn: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = drawn
    run(url, parse_campaign(CAMPAIGN), tmp_path, lambda step: None, tasks.get)
    records = list(read_lines(tmp_path / "records.jsonl", Record))
    assert [record.error for record in records if record.failed] == []
    (model,) = summarise(tmp_path).models
    online = {variant.variant: variant.accuracy[0] for variant in model.variants}
    task = tasks.get("digit_prompts")
    examples = task.examples("test", N)
    wrong = sum(example.label in ("8", "9") for example in examples)
    assert [(online["baseline"].value, online["baseline"].n), online["int8"].n] == [(1.0, N), N]
    assert online["int8"].value == pytest.approx(1 - wrong / N)
    assert model.comparisons[0].accuracy[0].difference == pytest.approx(-wrong / N)

    int8 = build_snapshot(drawing_stack(), drawing_artifacts(folder)).variants["scribe", "int8"]
    measured = asyncio.run(measure(int8, None, [task], {task.name: examples}, NoProgress()))
    card = card_of(int8.manifest, measured, {"kind": "openvino"}, None, {}, {task.name: task})
    offline = card.accuracy[0]
    assert (offline.value, offline.low, offline.high, offline.n) == (
        online["int8"].value, online["int8"].low, online["int8"].high, N,
    )  # fmt: skip
    (distance,) = card.distances
    assert (distance.task, distance.metric, distance.n, distance.real) == ("digit_prompts", "frechet", N, 1000)
    assert distance.value > 0
    assert card.inference_per_s is not None
