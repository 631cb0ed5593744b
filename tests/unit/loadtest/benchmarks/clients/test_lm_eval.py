"""What is read of the harness's files: right answers pass, wrong ones are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.benchmarks.clients.client import Call, Served, WrongAnswer
from loadtest.benchmarks.clients.lm_eval import CHOICE, EXAMPLES, LM_EVAL, WRITE, likelihoods, task_files, writings

COMPLETIONS, CHATS = LM_EVAL


def call(folder: Path) -> Call:
    served = Served("m@int8", "text-generation", Path("/models/m"))
    return Call(Path("/bin"), "http://127.0.0.1:1", "127.0.0.1:2", served, folder, folder / "picture.png")


def choices(*values: str) -> list[dict[str, Any]]:
    """Samples as the harness logs them, three choices each, with `values` first and -1.5, -2.5, ... after them."""
    numbers = [*values, *(str(-1.5 - k) for k in range(12))][:12]
    return [{"resps": [[[value, "False"]] for value in numbers[k : k + 3]]} for k in range(0, 12, 3)]


def test_finite_likelihoods_pass() -> None:
    assert likelihoods(choices()) == "12 finite log probabilities"


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (choices("nan"), "that are none"),
        (choices("-inf"), "that are none"),
        (choices("0.5"), "that are none"),
        (choices()[1:], "9 log probabilities of 12"),
        (choices(*["-3"] * 12), "every choice"),
    ],
)
def test_likelihoods_that_a_server_should_not_give(samples: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(WrongAnswer, match=says):
        likelihoods(samples)


@pytest.mark.parametrize(
    ("texts", "says"), [(["a", "b", "c"], "3 texts of 4"), ([""] * 4, "empty"), (["a", None, "b", "c"], "none")]
)
def test_texts_that_a_server_should_not_give(texts: list[Any], says: str) -> None:
    with pytest.raises(WrongAnswer, match=says):
        writings([{"resps": [[text]]} for text in texts])
    assert writings([{"resps": [[text]]} for text in ("", "", "", "a")]) == "4 texts"


def test_the_harness_reads_local_files_only(tmp_path: Path) -> None:
    command = COMPLETIONS.command(call(tmp_path))
    assert command[:2] == ["/bin/lm_eval", "run"]
    assert "base_url=http://127.0.0.1:1/v1/completions,model=m@int8" in command[command.index("--model_args") + 1]
    assert "tokenizer=/models/m" in command[command.index("--model_args") + 1]
    folder = Path(command[command.index("--include_path") + 1])
    assert {path.name for path in folder.iterdir()} == {"examples.jsonl", f"{CHOICE}.yaml", f"{WRITE}.yaml"}
    for task in task_files(folder).values():
        assert Path(task["dataset_kwargs"]["data_files"]["test"]).parent == folder
    assert [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()] == list(EXAMPLES)


def test_chats_have_the_template_of_the_server(tmp_path: Path) -> None:
    command = CHATS.command(call(tmp_path))
    assert "--apply_chat_template" in command
    assert command[command.index("--tasks") + 1] == WRITE


def test_each_task_of_a_client_is_checked(tmp_path: Path) -> None:
    results = tmp_path / "results" / "m@int8"
    results.mkdir(parents=True)
    (results / f"samples_{CHOICE}_now.jsonl").write_text("\n".join(json.dumps(each) for each in choices()))
    written = [json.dumps({"resps": [["Paris"]]})] * 4
    (results / f"samples_{WRITE}_now.jsonl").write_text("\n".join(written))
    assert COMPLETIONS.check(call(tmp_path)) == "12 finite log probabilities, 4 texts"
    (results / f"samples_{CHOICE}_now.jsonl").unlink()
    with pytest.raises(ValueError, match="not enough values"):
        COMPLETIONS.check(call(tmp_path))
    assert CHATS.check(call(tmp_path)) == "4 texts"
