"""lm-evaluation-harness through `evaluate` gives what its own command gives at the served engine, sample by sample."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from serve.config.loader import parse
from serve.config.stack import Stack, VllmEngine
from serve.evaluation.evaluate import evaluate_stack, settings_of
from tests.integration.serve.engines.engine import running_vllm
from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.support.long import long_only
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.artifacts.outcome_store import Conditions, OutcomeStore
from variants.artifacts.store import Store
from variants.errors import InputError
from variants.evidence.intervals import paired_difference
from variants.home import home
from variants.metrics.outcome import Outcome
from variants.tasks.harness.definition import describe
from variants.tasks.harness.program import answer

pytestmark = pytest.mark.integration
if find_spec("lm_eval") is None and "programs" not in os.environ.get("UNDERSTUDY_REQUIRE", ""):
    pytest.skip("lm_eval is not installed: make environment", allow_module_level=True)

ROWS = [
    {"question": f"a {word} film?", "choices": ["positive", "negative", "café 👍"], "answer": number % 3}
    for number, word in enumerate(
        ["good", "bad", "fine", "poor", "grand", "dull", "bright", "grim", "warm", "cold", "sharp", "flat"]
    )
]
ENGINE = {
    "kind": "vllm", "kv_cache_mib": 16, "sequences": 8, "adapters": {"slots": 1, "rank": 8, "modules": ["q_proj"]},
}  # fmt: skip


def write_task(folder: Path, name: str, **more: Any) -> Path:
    """A task of the harness in a folder of its own. JSON is YAML too."""
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{question}} A",
        "metadata": {"version": 3},
    }
    (folder / f"{name}.yaml").write_text(json.dumps(task | more, indent=2))
    return folder


def metric(name: str) -> dict[str, Any]:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True}


def write_choice(folder: Path) -> Path:
    choice = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "{{answer}}"}
    return write_task(folder, "tiny_choice", **choice, metric_list=[metric("acc"), metric("acc_norm")])


def write_generation(folder: Path) -> Path:
    how = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    writes = {"output_type": "generate_until", "doc_to_target": "{{choices[answer]}}", "generation_kwargs": how}
    return write_task(folder, "tiny_writing", **writes, metric_list=[metric("exact_match")])


def write_adapter(model: Path, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj"])
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1.0)
    adapted.save_pretrained(str(folder))
    return folder


class Evaluated(NamedTuple):
    stack: Stack
    cards: dict[str, Card]
    names: dict[str, str]
    """The name in the stack file, by the harness' own."""
    tasks: Path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluated]:
    """A tiny Llama and an adapter, evaluated on a folder with choices and on the file of a task that writes."""
    folder = tmp_path_factory.mktemp("harness")
    model = write_tiny_text(folder / "model", positions=256)
    names = {
        "tiny_choice": f"lm_eval:{write_choice(folder / 'tasks' / 'choice')}",
        "tiny_writing": f"lm_eval:{write_generation(folder / 'tasks' / 'writing') / 'tiny_writing.yaml'}",
    }
    source = {"uri": str(model), "licence": "MIT"}
    adapter = {"uri": str(write_adapter(model, folder / "adapter")), "licence": "MIT"}
    variants = {
        "baseline": {"recipe": {"kind": "baseline", "dtype": "float32"}, "engine": ENGINE, "weight": 1},
        "style": {"recipe": {"kind": "adapter"}, "source": adapter, "parent": "baseline", "engine": ENGINE},
    }
    of_model = {"task": "text-generation", "source": source, "evaluate": list(names.values()), "variants": variants}
    stack = parse({"schema": 1, "models": {"tiny": of_model}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_HOME", str(folder / "home"))
        cards = evaluate_stack(stack, [], None, False)
        yield Evaluated(stack, dict(zip(variants, cards, strict=True)), names, folder / "tasks")


@pytest.fixture(scope="module")
def outside(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the harness' own command at the engine of the baseline."""
    engine = evaluated.stack.models["tiny"].variants["baseline"].engine
    assert isinstance(engine, VllmEngine)
    artifact = Store(home()).open(Catalog(home()).model("tiny").current("baseline").key)
    out = tmp_path_factory.mktemp("outside")
    with running_vllm(artifact.path, "tiny", **engine.model_dump(exclude={"kind"})) as served:
        arguments = f"base_url={served.url}/v1/completions,model=tiny,tokenizer={artifact.model_path},max_length=256"
        command = [
            sys.executable, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", arguments,
            "--include_path", str(evaluated.tasks), "--tasks", ",".join(evaluated.names),
            "--output_path", str(out), "--log_samples",
        ]  # fmt: skip
        subprocess.run(command, check=True)
    return out


def outcomes_of(evaluated: Evaluated, variant: str, task: str) -> list[Outcome]:
    card, name = evaluated.cards[variant], evaluated.names[task]
    (figure,) = (each for each in card.accuracy if each.task == name)
    assert figure.test_sha256 is not None
    conditions = Conditions.here(settings_of(evaluated.stack, ("tiny", variant)), figure.test_sha256)
    ids = [str(number) for number in range(len(ROWS))]
    outcomes = OutcomeStore(home()).find(card.digest, name, conditions, ids)
    assert outcomes is not None
    return outcomes


@long_only
@pytest.mark.parametrize(("task", "name"), [("tiny_choice", "acc"), ("tiny_writing", "exact_match")])
def test_evaluate_gives_the_figure_of_the_harness_sample_by_sample(
    evaluated: Evaluated, outside: Path, task: str, name: str
) -> None:
    (results,) = outside.rglob("results_*.json")
    (log,) = outside.rglob(f"samples_{task}_*.jsonl")
    samples = sorted(map(json.loads, log.read_text().splitlines()), key=lambda sample: int(sample["doc_id"]))
    outcomes = outcomes_of(evaluated, "baseline", task)
    assert [outcome.value for outcome in outcomes] == [sample[name] for sample in samples]
    assert [outcome.label for outcome in outcomes] == [str(sample["target"]) for sample in samples]
    if task == "tiny_writing":
        assert [outcome.answer for outcome in outcomes] == [sample["filtered_resps"][0] for sample in samples]
        assert any(outcome.answer for outcome in outcomes)
    (figure,) = (each for each in evaluated.cards["baseline"].accuracy if each.task == evaluated.names[task])
    assert figure.value == json.loads(results.read_text())["results"][task][f"{name},none"]
    assert (figure.metric, figure.n, figure.unit) == (name, len(ROWS), "share")


@long_only
def test_a_card_says_what_the_harness_was(evaluated: Evaluated) -> None:
    from importlib.metadata import version

    card = Catalog(home()).model("tiny").cards[evaluated.cards["baseline"].digest][-1]
    assert card == evaluated.cards["baseline"]
    for figure in card.accuracy:
        assert figure.harness is not None
        assert (figure.harness.version, figure.harness.task_version) == (version("lm_eval"), "3")
        assert figure.harness.definition_sha256 == describe(figure.task.removeprefix("lm_eval:")).sha256
    assert card.throughput_per_s is not None


@long_only
def test_a_variant_is_compared_with_its_parent_on_the_same_samples(evaluated: Evaluated) -> None:
    card = evaluated.cards["style"]
    ours, theirs = (outcomes_of(evaluated, each, "tiny_choice") for each in ("style", "baseline"))
    assert [each.answer for each in ours] != [each.answer for each in theirs], "the adapter changes nothing"
    expected = paired_difference([each.correct for each in ours], [each.correct for each in theirs])
    (difference,) = (each for each in card.differences if each.task == evaluated.names["tiny_choice"])
    assert (difference.value, difference.low, difference.high) == (expected.value, expected.low, expected.high)
    assert difference.parent == evaluated.cards["baseline"].digest
    same = sum(one.answer == other.answer for one, other in zip(ours, theirs, strict=True)) / len(ROWS)
    assert [each.value for each in card.agreement if each.task == evaluated.names["tiny_choice"]] == [same]


@long_only
def test_a_valid_card_is_not_measured_again(evaluated: Evaluated) -> None:
    assert evaluate_stack(evaluated.stack, ["tiny@baseline"], None, False) == [evaluated.cards["baseline"]]


def refused(spec: str) -> str:
    """What the child process answers: a sentence and its mend. Here it runs in this process, which imports it once."""
    told = answer({"task": spec})["refused"]
    return f"{told['message']} ({told['mend']})"


def test_what_the_harness_does_not_know_is_refused() -> None:
    assert "lm_eval has no task 'arc_easyy' (did you mean arc_easy" in refused("arc_easyy")
    assert refused("mmlu").startswith("mmlu is a group of tasks of lm_eval (name single tasks")


def test_a_folder_without_one_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no YAML file in" in refused(str(tmp_path / "empty"))
    write_choice(tmp_path / "two" / "one")
    write_generation(tmp_path / "two" / "other")
    with pytest.raises(InputError, match=r"has 2 tasks: tiny_choice, tiny_writing \(name the file of one: .*yaml"):
        describe(str(tmp_path / "two"))


def test_a_task_without_a_metric_of_single_samples_is_refused(tmp_path: Path) -> None:
    perplexity = {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
    rolling = {"output_type": "loglikelihood_rolling", "doc_to_target": "{{question}}"}
    folder = write_task(tmp_path / "task", "tiny_rolling", **rolling, metric_list=[perplexity])
    assert "has no metric of single samples: its metrics are word_perplexity" in refused(str(folder))
