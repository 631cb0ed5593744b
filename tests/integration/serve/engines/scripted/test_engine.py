"""The engine that other tests stand on: its answers, its timing, its ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import openai
import psutil
import pytest

from tests.integration.serve.engines.engine import Engine, command, running

pytestmark = pytest.mark.integration

NAME = "echo"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with running("scripted.engine", "--name", NAME, "--first-token-s", "0.2", "--token-s", "0.05") as started:
        yield started


@pytest.fixture
def client(engine: Engine) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0)


def test_the_greedy_answer_repeats_the_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=NAME, prompt="naïve café 日本語", temperature=0, max_tokens=50)
    assert answer.choices[0].text == "naïve café 日本語"
    assert answer.choices[0].finish_reason == "stop"


def test_tokens_come_when_they_should(client: openai.OpenAI) -> None:
    begun = time.perf_counter()
    stream = client.completions.create(
        model=NAME, prompt="one two three four five six", temperature=0, max_tokens=6, stream=True
    )
    times = [time.perf_counter() - begun for _ in stream]
    assert 0.2 <= times[0] < 0.3
    assert 0.45 <= times[5] < 0.6


@pytest.mark.parametrize(("prompt", "label"), [("all positive here", " positive"), ("quite negative", " negative")])
def test_a_label_that_the_prompt_names_is_the_answer(engine: Engine, prompt: str, label: str) -> None:
    first = {}
    for text in (" positive", " negative"):
        tokens = engine.post("/tokenize", {"model": NAME, "prompt": text, "add_special_tokens": False})[1]["tokens"]
        first[str(tokens[0])] = 100
    body = {"model": NAME, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logit_bias": first}
    text = engine.post("/v1/completions", body)[1]["choices"][0]["text"]
    assert text
    assert label.startswith(text)


def test_it_starts_within_a_second_or_so() -> None:
    begun = time.perf_counter()
    with running("scripted.engine", "--name", NAME):
        assert time.perf_counter() - begun < 5  # under 0.5 s by itself; tests may share the machine


def test_it_fails_when_told_to() -> None:
    body = {"model": NAME, "prompt": "a", "max_tokens": 1}
    with running("scripted.engine", "--name", NAME, "--fail-after", "2") as engine:
        assert [engine.post("/v1/completions", body)[0] for _ in range(3)] == [200, 200, 500]
        status, answer = engine.post("/v1/completions", body | {"stream": True})
        assert (status, answer["error"]["code"]) == (500, "engine_fault")


def test_it_goes_when_its_parent_is_killed() -> None:
    """The parent is a process of its own that starts the engine and says which pid it has."""
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({command('scripted', 1, '--name', NAME)!r}[:-4] + sys.argv[1:])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, "--port", "0", "--name", NAME], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(1)
        assert child.is_running()
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    child.wait(10)
