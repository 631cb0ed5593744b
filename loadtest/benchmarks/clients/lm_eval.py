"""EleutherAI's evaluation harness: its own command, on two tasks of a few local examples.

One task compares the likelihoods of choices, the other one has the model write. The folder of tasks is written here, so
no data set is fetched."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.benchmarks.clients.client import Call, Client, WrongAnswer

CHOICE, WRITE = "understudy_choice", "understudy_write"
EXAMPLES: tuple[dict[str, Any], ...] = (
    {"question": "What is the capital of France?", "choices": ["Paris", "London", "Rome"], "answer": 0},
    {"question": "Which animal barks?", "choices": ["a cat", "a dog", "a fish"], "answer": 1},
    {"question": "What colour is snow?", "choices": ["black", "red", "white"], "answer": 2},
    {"question": "How many legs has a spider?", "choices": ["four", "eight", "eleven"], "answer": 1},
)
BATCH = 3
"""Prompts in one request."""


def task_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The two tasks as the harness describes them, by name. Their examples are `folder`/examples.jsonl."""
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "examples.jsonl")}},
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "metadata": {"version": 1},
    }
    choice = {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    write = {
        "output_type": "generate_until",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    return {CHOICE: {"task": CHOICE, **common, **choice}, WRITE: {"task": WRITE, **common, **write}}


def write_tasks(folder: Path) -> Path:
    """Write the tasks and their examples to `folder`."""
    folder.mkdir(parents=True)
    (folder / "examples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in EXAMPLES))
    for name, task in task_files(folder).items():
        (folder / f"{name}.yaml").write_text(json.dumps(task, indent=2))  # JSON is YAML too
    return folder


def command(model: str, path: str, *names: str, chat: bool = False) -> Callable[[Call], list[str]]:
    """The command line: tasks `names`, with the harness's model type `model`, at the server's `path`."""

    def of(call: Call) -> list[str]:
        settings = {"base_url": f"{call.url}{path}", "model": call.served.name, "num_concurrent": "2"}
        if not chat:  # a chat needs no tokenizer: the server has it
            settings["tokenizer"] = str(call.served.tokenizer)
        return [
            str(call.programs / "lm_eval"), "run", "--model", model,
            "--model_args", ",".join(f"{name}={value}" for name, value in settings.items()),
            "--tasks", ",".join(names), "--include_path", str(write_tasks(call.folder / "tasks")),
            "--batch_size", "1" if chat else str(BATCH), "--output_path", str(call.folder / "results"), "--log_samples",
            *(["--apply_chat_template"] if chat else []),
        ]  # fmt: skip

    return of


def check(*names: str) -> Callable[[Call], str]:
    """Reads what the harness logged of each example. Raises WrongAnswer."""

    def of(call: Call) -> str:
        parts = []
        for name in names:
            (path,) = (call.folder / "results").rglob(f"samples_{name}_*.jsonl")
            samples = [json.loads(line) for line in path.read_text().splitlines()]
            parts.append((likelihoods if name == CHOICE else writings)(samples))
        return ", ".join(parts)

    return of


def likelihoods(samples: list[dict[str, Any]]) -> str:
    """Every choice of every example has a log probability: finite, not positive, and not the same for all."""
    values = [float(response[0][0]) for sample in samples for response in sample["resps"]]
    wanted = sum(len(example["choices"]) for example in EXAMPLES)
    if len(values) != wanted:
        raise WrongAnswer(f"{len(values)} log probabilities of {wanted} choices")
    if not all(math.isfinite(value) and value <= 0 for value in values):
        raise WrongAnswer(f"log probabilities that are none: {values}")
    if len(set(values)) == 1:
        raise WrongAnswer(f"every choice has the log probability {values[0]}")
    return f"{len(values)} finite log probabilities"


def writings(samples: list[dict[str, Any]]) -> str:
    """Every example has one text, and not all are empty: a model may end at once, a server may not always."""
    texts = [response[0] for sample in samples for response in sample["resps"]]
    if len(texts) != len(EXAMPLES):
        raise WrongAnswer(f"{len(texts)} texts of {len(EXAMPLES)} prompts")
    if not all(isinstance(text, str) for text in texts):
        raise WrongAnswer(f"texts that are none: {texts}")
    if not any(texts):
        raise WrongAnswer("every text is empty")
    return f"{len(texts)} texts"


LM_EVAL = (
    Client(
        "lm_eval local-completions", "lm-eval", frozenset({"text-generation"}),
        command("local-completions", "/v1/completions", CHOICE, WRITE), check(CHOICE, WRITE),
    ),
    Client(
        "lm_eval local-chat-completions", "lm-eval", frozenset({"text-generation"}),
        command("local-chat-completions", "/v1/chat/completions", WRITE, chat=True), check(WRITE),
    ),
)  # fmt: skip
