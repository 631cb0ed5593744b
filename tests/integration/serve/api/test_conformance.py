"""Every text engine answers every request of the table alike, through the ingress: vLLM on a tiny model, twice, and the
scripted engine."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from serve.config.loader import parse
from serve.ports import free_port
from tests.integration.serve.engines.tiny_text import CONTEXT, write_tiny_text
from tests.support.alike import compared
from tests.support.conformance import CASES, COMPLETIONS, TOKENIZE, Case
from tests.support.local_stage import local
from tests.support.scripted import RECIPE, SOURCE
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store, entries
from variants.files import digest_of
from variants.recipes.recipe import Baseline

pytestmark = pytest.mark.integration

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Knows nothing of developers."""
VLLM = {"kind": "vllm", "context": CONTEXT, "kv_cache_mib": 16, "sequences": 8}
ENGINES: dict[str, dict[str, Any]] = {
    "baseline": VLLM,
    "twin": VLLM | {"sequences": 7},
    "scripted": {"kind": "scripted"},
}


class Answer(NamedTuple):
    status: int
    body: str
    reason: str


def stored(home: Path, weights: Path, variant: str) -> Artifact:
    """The same weights under another key."""
    store = Store(home)
    key = digest_of({variant: "0" * 64})
    with store.staging(key) as staged:
        shutil.copytree(weights, staged / "model")
        (staged / "model" / "chat_template.jinja").write_text(TEMPLATE)
        files = entries(staged)
        manifest = Manifest(
            key=key, digest=digest_of({name: entry.sha256 for name, entry in files.items()}), model="tiny",
            variant=variant, task="text-generation", method="test", precision="f32",
            recipe=Baseline(dtype="float32"), seed=0, parent=None if variant == "baseline" else "baseline",
            parent_digest=None, sources=(), files=files, bytes=sum(entry.bytes for entry in files.values()),
            versions={}, created=datetime.now(UTC), format="huggingface", labels=None, preprocess=None, note="a test",
        )  # fmt: skip
        return store.keep(staged, manifest)


async def ask_all(home: Path) -> dict[tuple[str, str], Answer]:
    """Every case's answer by every variant, one at a time: in a batch, rounding may change a text."""
    weights = write_tiny_text(home / "weights")
    artifacts = {("tiny", name): stored(home, weights, name) for name in ENGINES}
    variants = {
        name: {"recipe": RECIPE, "engine": engine, "weight": int(name == "baseline")}
        for name, engine in ENGINES.items()
    }
    model = {"task": "text-generation", "source": SOURCE, "variants": variants}
    stack = parse({"schema": 1, "server": {"port": free_port()}, "models": {"tiny": model}})
    answers = {}
    async with local(home, stack, artifacts) as served:
        for case in CASES:
            for name in ENGINES:
                body = case.sent(f"tiny@{name}")
                answer = await served.client.post(case.path, content=body, headers=dict(case.headers))
                reason = answer.headers.get("x-understudy-reason", "")
                answers[case.name, name] = Answer(answer.status_code, answer.text, reason)
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Answer]]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(home))
        yield asyncio.run(ask_all(home))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_engine_answers_alike(answers: dict[tuple[str, str], Answer], case: Case) -> None:
    about = {}
    for engine in ENGINES:
        answer = answers[case.name, engine]
        assert answer.status == case.status, answer.body
        about[engine] = compared(case, answer.status, answer.body)
        if case.status == 400:
            assert about[engine]["field"] == case.field, answer.body
        elif case.path != TOKENIZE:
            assert len(text_of(answer.body)) == case.choices
    assert about["twin"] == about["baseline"]
    assert about["scripted"] == about["baseline"]


@pytest.mark.parametrize("case", [case for case in CASES if case.status == 200], ids=lambda case: case.name)
def test_equal_weights_give_equal_texts(answers: dict[tuple[str, str], Answer], case: Case) -> None:
    texts = [text_of(answers[case.name, name].body) for name in ("baseline", "twin")]
    assert texts[0] == texts[1]
    assert texts[0] or b'"temperature": 0' not in case.body


def text_of(body: str) -> list[str]:
    """The texts of an answer's choices in order; of its tokens, where it has no choices."""
    if not body.startswith("data: "):
        document = json.loads(body)
        if "choices" not in document:
            return list(map(str, document["tokens"]))
        return [each["text"] if "text" in each else each["message"]["content"] for each in document["choices"]]
    texts: dict[int, str] = {}
    for frame in body.strip().split("\n\n")[:-1]:
        for each in json.loads(frame.removeprefix("data: "))["choices"]:
            said = each["text"] if "text" in each else each["delta"].get("content")
            texts[each["index"]] = texts.get(each["index"], "") + (said or "")
    return [texts[index] for index in sorted(texts)]


def test_one_prompt_reaches_all_engines(answers: dict[tuple[str, str], Answer]) -> None:
    """Text in two parts is the text that joins them by a line."""
    counted: dict[str, set[int]] = {}
    for engine in ENGINES:
        for name in ("chat: a part with a mark", "chat: one text part", "chat: one message"):
            usage = json.loads(answers[name, engine].body)["usage"]
            counted.setdefault(engine, set()).add(usage["prompt_tokens"])
    assert all(len(each) == 1 for each in counted.values()), counted


def test_an_echo_is_the_prompt_and_no_other_answer_has_it(answers: dict[tuple[str, str], Answer]) -> None:
    for engine in ENGINES:
        assert text_of(answers["completion: the prompt alone", engine].body) == ["a good film"]
        assert text_of(answers["completion: several prompts alone", engine].body) == ["a", "b"]
    for case in CASES:
        if case.path == COMPLETIONS and case.status == 200 and b'"echo": true' not in case.body:
            for text in text_of(answers[case.name, "baseline"].body):
                assert "film" not in text
                assert "damaged" not in text


def test_a_form_is_kept(answers: dict[tuple[str, str], Answer]) -> None:
    """Until the limit cuts the answer off: a model without training may write blanks for long."""
    whole = dict.fromkeys(ENGINES, 0)
    for case in CASES:
        for engine in ENGINES if case.has_form else ():
            body = answers[case.name, engine].body
            (text,) = text_of(body)
            if '"finish_reason":"stop"' not in body:
                assert text.startswith("{")
                continue
            whole[engine] += 1
            if "wordings" in case.name:
                assert text in ("yes", "no")
            elif "schema" in case.name:
                assert list(json.loads(text)) == ["age"]
            else:
                assert isinstance(json.loads(text), dict)
    assert min(whole.values()) > 0
    assert whole["scripted"] == sum(case.has_form for case in CASES)
