"""vLLM as it is started here, asked by the official openai client and checked against transformers itself."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from serve.evaluation.engine_client import EngineClient
from serve.evaluation.predictors import ending_logprob, likeliest_ending, passage_surprise
from tests.integration.serve.engines.engine import Engine, running_vllm, write_manifest
from tests.integration.serve.engines.tiny_text import CONTEXT, write_tiny_text
from variants.metrics.scoring import surprise
from variants.tasks import Example

pytestmark = pytest.mark.integration

NAME = "tiny@baseline"
PROMPTS = ["a good film", "naïve café 日本語", "a", "a bad film, a negative review " * 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_text(folder / "model")
    return folder


@pytest.fixture(scope="module")
def digest(folder: Path) -> str:
    return write_manifest(folder)


@pytest.fixture(scope="module")
def engine(folder: Path, digest: str) -> Iterator[Engine]:
    settings = {"context": CONTEXT, "kv_cache_mib": 16, "sequences": 4}
    with running_vllm(folder, NAME, "--dtype", "float32", **settings) as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)


class Reference:
    """transformers by itself."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    def greedy(self, prompt: str, tokens: int) -> list[int]:
        ids = self.tokenizer(prompt, return_tensors="pt").input_ids
        made = self.model.generate(ids, max_new_tokens=tokens, do_sample=False, eos_token_id=None)
        return made[0, ids.shape[1] :].tolist()

    def text(self, ids: list[int]) -> str:
        """Whole characters only, as an answer shows them."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def logprobs(self, prompt: str) -> torch.Tensor:
        with torch.no_grad():
            return self.model(self.tokenizer(prompt, return_tensors="pt").input_ids).logits[0, -1].log_softmax(-1)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


def greedy(prompt: str, tokens: int, **more: Any) -> dict[str, Any]:
    ignore = {"ignore_eos": True}
    return {"model": NAME, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "extra_body": ignore} | more


def without_cut(text: str) -> str:
    """A text less what is left of a character that was cut off at its end."""
    return text.rstrip("\ufffd")


async def test_requests_at_the_same_time_get_what_transformers_gives_each(engine: Engine, reference: Reference) -> None:
    client = openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)
    lengths = [20, 35, 1, 12, 30, 8]
    asked = [(PROMPTS[i % len(PROMPTS)], length) for i, length in enumerate(lengths)]
    answers = await asyncio.gather(*(client.completions.create(**greedy(*pair)) for pair in asked))
    for (prompt, length), answer in zip(asked, answers, strict=True):
        assert answer.choices[0].text == without_cut(reference.text(reference.greedy(prompt, length)))
        assert answer.usage is not None
        assert answer.usage.completion_tokens == length
        assert answer.usage.prompt_tokens == len(reference.tokenizer(prompt).input_ids)
        assert answer.choices[0].finish_reason == "length"


def test_an_answer_names_its_model_and_its_artifact(client: openai.OpenAI, digest: str) -> None:
    answer = client.completions.create(**greedy("a", 1))
    assert answer.model == NAME
    assert answer.system_fingerprint == digest


def test_a_stream_adds_up_to_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.completions.create(**greedy(PROMPTS[1], 40))
    chunks = list(
        client.completions.create(**greedy(PROMPTS[1], 40), stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    reasons = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert reasons == [None] * (len(reasons) - 1) + ["length"], "a chunk may hold several tokens"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_a_stop_string_ends_the_text_before_it(client: openai.OpenAI) -> None:
    whole = client.completions.create(**greedy(PROMPTS[0], 40)).choices[0].text
    stop = whole[7:10]
    answer = client.completions.create(**greedy(PROMPTS[0], 40), stop=stop)
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    chunks = client.completions.create(**greedy(PROMPTS[0], 40), stop=[stop, "never"], stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == answer.choices[0].text


def test_a_chat_answers_to_its_template(client: openai.OpenAI, reference: Reference) -> None:
    messages: list[Any] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "café?"}]
    made = reference.greedy("<system>be kind<user>café?<assistant>", 10)
    more: dict[str, Any] = {"model": NAME, "messages": messages, "max_completion_tokens": 10, "temperature": 0}
    answer = client.chat.completions.create(**more, extra_body={"ignore_eos": True})
    assert answer.choices[0].message.content == without_cut(reference.text(made))
    chunks = list(client.chat.completions.create(**more, extra_body={"ignore_eos": True}, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer.choices[0].message.content


def test_a_seed_repeats_an_answer_and_another_does_not(client: openai.OpenAI) -> None:
    def sample(seed: int) -> str:
        return client.completions.create(**greedy("a", 30) | {"temperature": 1.5, "seed": seed}).choices[0].text

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_logprobs_are_the_models_own_whatever_the_bias(client: openai.OpenAI, reference: Reference) -> None:
    expected = reference.logprobs("a good")
    token = int(expected.argsort()[5])
    answer = client.completions.create(**greedy("a good", 1), logprobs=2, logit_bias={str(token): 100})
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs == [pytest.approx(float(expected[token]), abs=1e-4)]
    assert logprobs.top_logprobs is not None
    assert max(logprobs.top_logprobs[0].values()) == pytest.approx(float(expected.max()), abs=1e-4)


async def test_a_prompt_is_scored_token_by_token_in_any_company(engine: Engine, reference: Reference) -> None:
    """In vLLM's shape: null first, then by token id the token's own and the likeliest, each with its rank."""
    client = openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)
    prompts = ["a good film, a positive", "a bad film, a negative", "a"]
    asked = [
        client.completions.create(**greedy(prompt, 3) | {"extra_body": {"prompt_logprobs": 2, "ignore_eos": True}})
        for prompt in prompts
    ]
    plain = await client.completions.create(**greedy(prompts[0], 3))
    answers = await asyncio.gather(*asked)
    assert answers[0].choices[0].text == plain.choices[0].text
    assert plain.choices[0].prompt_logprobs is None
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = reference.tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = reference.model(ids).logits[0].log_softmax(-1)
        first, *places = answer.choices[0].prompt_logprobs
        assert first is None
        assert len(places) == ids.shape[1] - 1
        for at, (place, token) in enumerate(zip(places, ids[0, 1:].tolist(), strict=True)):
            own = place[str(token)]
            assert next(iter(place)) == str(token)
            assert own["logprob"] == pytest.approx(float(expected[at, token]), abs=1e-4)
            assert own["rank"] == int((expected[at] > expected[at, token]).sum()) + 1
            assert own["decoded_token"] == reference.tokenizer.decode([token])
            assert set(place) == {str(token), *map(str, expected[at].topk(2).indices.tolist())}


async def test_an_ending_is_as_likely_as_its_tokens_are(engine: Engine, reference: Reference) -> None:
    """The likelihood that choices are judged by, and the surprise of a passage, are transformers' own sums."""
    context, endings = "a good film, a", (" positive review", " negative review", " 日本語")
    async with aiohttp.ClientSession() as session:
        client = EngineClient(session, engine.url, NAME)
        scores = [await ending_logprob(client, context, ending) for ending in endings]
        chosen = await likeliest_ending(client, Example("1", (context, *endings), "0"))
        nats, tokens = surprise(await passage_surprise(client, Example("2", context, "")))
    expected = []
    for text in (*(context + ending for ending in endings), context):
        ids = reference.tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            likely = reference.model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        expected.append(likely)
    start = len(reference.tokenizer(context).input_ids) - 1
    sums = [float(likely[start:].sum()) for likely in expected[:-1]]
    assert scores == pytest.approx(sums, abs=1e-3)
    assert chosen == str(sums.index(max(sums)))
    assert (nats, tokens) == (pytest.approx(-float(expected[-1].sum()), abs=1e-3), len(expected[-1]))


def test_chat_logprobs_have_each_tokens_own_bytes_and_alternatives(client: openai.OpenAI, reference: Reference) -> None:
    answer = client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": "a good"}],  # the answer has tokens that are no whole characters
        max_tokens=12,
        temperature=0,
        logprobs=True,
        top_logprobs=4,
    )
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None
    for entry in content:
        assert len(entry.top_logprobs) == 4
        assert entry.top_logprobs[0].logprob == entry.logprob
        assert entry.top_logprobs[0].bytes == entry.bytes
        assert all(other.bytes for other in entry.top_logprobs)
    text = b"".join(bytes(entry.bytes or []) for entry in content).decode(errors="replace")
    assert "\ufffd" in text
    assert without_cut(text) == without_cut(answer.choices[0].message.content or "")


def test_several_answers_at_temperature_0_are_alike(client: openai.OpenAI) -> None:
    answer = client.completions.create(**greedy("a good", 8), n=3)
    assert len({choice.text for choice in answer.choices}) == 1
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 24


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_does_not_begin_with_a_damaged_prompt(client: openai.OpenAI, stream: bool) -> None:
    for prompt in ("a film, damaged \ufffd", "\ufffd\ufffd\ufffd", [1, 2, 200, 188]):
        whole = client.completions.create(**greedy("", 20) | {"prompt": prompt}, stream=stream)
        text = "".join(each.choices[0].text for each in whole) if stream else whole.choices[0].text
        assert text
        assert "film" not in text
        echoed = client.completions.create(**greedy("", 20) | {"prompt": prompt}, echo=True).choices[0].text
        assert echoed.endswith(text)


def test_a_label_by_likelihood_is_the_likelier_one(engine: Engine, client: openai.OpenAI, reference: Reference) -> None:
    labels = [" positive", " negative"]
    first = []
    for label in labels:
        body = {"model": NAME, "prompt": label, "add_special_tokens": False}
        status, answer = engine.post("/tokenize", body)
        assert status == 200
        assert answer["tokens"] == reference.tokenizer(label, add_special_tokens=False).input_ids
        assert answer["count"] == len(answer["tokens"])
        assert answer["max_model_len"] == CONTEXT
        first.append(answer["tokens"][0])
    assert first[0] != first[1]
    for prompt in PROMPTS:
        logprobs = reference.logprobs(prompt)
        likelier = labels[int(logprobs[first].argmax())]
        answer = client.completions.create(**greedy(prompt, 1), logit_bias={str(token): 100 for token in first})
        assert answer.choices[0].text
        assert likelier.startswith(answer.choices[0].text)


def test_a_client_that_goes_away_frees_its_place(client: openai.OpenAI) -> None:
    """With places for four, more streams than that are abandoned, and the next request is answered at once."""
    for _ in range(12):
        stream = client.completions.create(**greedy("a", CONTEXT - 1), stream=True)
        next(iter(stream))
        stream.close()
    assert client.completions.create(**greedy("a", 2), timeout=10).choices[0].text is not None


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/v1/completions", {"prompt": "a" * 2 * CONTEXT, "max_tokens": 1}, "context_length_exceeded", "prompt"),
        ("/v1/completions", {"prompt": "a", "n": 0}, "invalid_request", "n"),
        ("/v1/completions", {"prompt": ""}, "invalid_request", "prompt"),
        ("/v1/completions", {"prompt": [5000]}, "invalid_request", "prompt"),
        ("/v1/completions", {"prompt": "a", "logit_bias": {"5000": 1}}, "invalid_request", "logit_bias"),
        ("/v1/chat/completions", {"messages": []}, "invalid_request", "messages"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "developer", "content": "a"}]},
            "invalid_request",
            None,  # the template's own words
        ),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "a" * 400}]},
            "context_length_exceeded",
            "messages",
        ),
    ],
)
def test_bad_input_is_a_400_in_openais_shape(
    engine: Engine, path: str, body: dict[str, Any], code: str, param: str | None
) -> None:
    status, answer = engine.post(path, {"model": NAME} | body)
    assert status == 400
    assert answer["error"]["code"] == code
    assert answer["error"]["param"] == param
    assert answer["error"]["type"] == "invalid_request_error"
    if code == "context_length_exceeded":
        assert str(CONTEXT) in answer["error"]["message"]


def test_another_model_is_a_404_for_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny@baseline"):
        client.completions.create(**greedy("a", 1) | {"model": "tiny"})


def test_a_body_that_is_not_json_is_a_400(engine: Engine) -> None:
    status, answer = engine.post("/v1/completions", b"{")
    assert (status, answer["error"]["param"]) == (400, "body")
