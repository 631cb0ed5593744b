"""Chats and JSON schemas as tasks of one's own: from a row to the request and back."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loadtest.campaign.plan import Content, Pool
from loadtest.worker.requests import load_request
from variants.errors import InputError
from variants.tasks import Chat, Split, Task, Tasks
from variants.tasks.requests import request_for
from variants.tasks.responses import read_answer
from variants.tasks.task_file import TaskFile

SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of {{ land }}?"}]
CHAT = {"messages": MESSAGES, "label": "city", "scorer": "contains"}
SCHEMA = {"type": "object", "required": ["city"]}


def task_of(home: Path, **fields: Any) -> Task:
    home.mkdir(exist_ok=True)
    (home / "a.csv").write_text("land,city\n" + "".join(f"land {n},city {n}\n" for n in range(20)))
    definition = {"data": {"uri": str(home / "a.csv")}, **CHAT, **fields}
    return Tasks({"own": TaskFile.model_validate(definition)}).get("own", home)


def test_a_row_becomes_a_chat(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    assert (task.kind, dict(task.fields)) == ("contains", {"max_tokens": 64})
    asked = {each.input: each.label for split in SPLITS for each in task.examples(split)}
    assert asked[Chat((("system", "Be brief."), ("user", "Capital of land 7?")))] == "city 7"
    assert len(asked) == 20
    assert task.test_sha256 == task_of(tmp_path).test_sha256
    other = [MESSAGES[0] | {"content": "Be long."}, MESSAGES[1]]
    assert task.test_sha256 != task_of(tmp_path, messages=other).test_sha256


def test_a_chat_is_asked_with_the_models_own_template() -> None:
    chat = Chat((("system", "Be brief."), ("user", "Capital of Italy?")))
    request = request_for("contains", "smollm2", chat, {"max_tokens": 8}, version="int8")
    assert request.path == "/v1/chat/completions"
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Italy?"}]
    assert json.loads(request.body) == {
        "model": "smollm2@int8", "messages": messages, "max_tokens": 8, "temperature": 0,
    }  # fmt: skip
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    for content, text in (("Rome.", "Rome."), (None, "")):
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage})
        answer = read_answer("contains", body.encode())
        assert (answer.text, answer.prompt_tokens, answer.output_tokens) == (text, 9, 2)


def test_a_campaign_sends_the_same_chat() -> None:
    content = Content(example="1", messages=(("user", "Capital of Italy?"),), label="Rome")
    pool = Pool(kind="contains", model="echo", task="own", contents=(content,), fields={"max_tokens": 8})
    request = load_request(Pool.model_validate_json(pool.model_dump_json()), content, "int8", None)
    assert request.path == "/v1/chat/completions"
    assert json.loads(request.body)["messages"] == [{"role": "user", "content": "Capital of Italy?"}]
    assert request.headers["x-understudy-label"] == "Rome"
    long = content.model_copy(update={"label": "{" * 100_000})
    asked = load_request(pool.model_copy(update={"kind": "schema"}), long, "int8", None)
    assert asked.headers["x-understudy-label"] == "schema"


def test_a_schema_is_the_label_of_every_example(tmp_path: Path) -> None:
    task = task_of(tmp_path, scorer="schema", schema=SCHEMA, label=None)
    assert (task.kind, task.labels, task.metrics[0].name) == ("schema", (), "accuracy")
    assert [len(task.examples(split)) for split in SPLITS] == [14, 2, 4]
    assert {each.label for each in task.examples("test")} == {'{"required":["city"],"type":"object"}'}
    assert task.metrics[0].right("schema", '{"city": 1}', task.examples("test", 1)[0].label)
    other = task_of(tmp_path, scorer="schema", schema=SCHEMA | {"minProperties": 2}, label=None)
    assert other.definition_sha256 != task.definition_sha256


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no column 'place'") as refused:
        task_of(tmp_path, messages=[{"role": "user", "content": "{{ place }}?"}]).examples("test")
    assert refused.value.field == "tasks.own.input"
    (tmp_path / "b.csv").write_text("land,city\n" + "".join(f"land {n},city {n}\n" for n in range(20)) + ",city\n")
    with pytest.raises(InputError, match="row 21: the input is empty"):
        task_of(tmp_path, data={"uri": str(tmp_path / "b.csv")}).examples("test")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scorer": "choice"}, "scorer choice asks for likelihoods of plain text"),
        ({"scorer": "label"}, "messages: scorer label"),
        ({"input": "{{ land }}"}, "give either `input`"),
        ({"messages": []}, "messages"),
        ({"messages": MESSAGES[:1]}, "no message names a column"),
        ({"messages": MESSAGES[::-1]}, "the last message is not the user's"),
        ({"messages": [{"role": "tool", "content": "{{ land }}"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "{{ land"}]}, "is not a Jinja template"),
        ({"scorer": "schema", "label": None}, "give it with scorer schema"),
        ({"schema": SCHEMA}, "give it with scorer schema"),
        ({"scorer": "schema", "schema": SCHEMA}, "with scorer schema there is none"),
        ({"scorer": "schema", "schema": {"type": "text"}, "label": None}, "is no JSON schema"),
    ],
)
def test_a_definition_that_cannot_be(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TaskFile.model_validate({"data": {"uri": "./a.csv"}, **CHAT, **fields})
