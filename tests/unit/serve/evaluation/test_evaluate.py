"""Which cards stand in for a measurement: same machine, same versions, at least as many examples."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serve.config.loader import parse
from serve.evaluation.engine_client import EngineClient
from serve.evaluation.evaluate import (
    EngineRef,
    Required,
    check_labels,
    cost_gpu_s,
    describe_card,
    evaluate_stack,
    evaluate_variant,
    newest_valid_card,
)
from serve.evaluation.measure import executes, held_out, unasked
from tests.support.scripted import make_artifact, make_stack
from tests.unit.variants.evaluation.test_evaluate import Parity
from variants import tasks
from variants.artifacts.card import Accuracy, Card, Speedup
from variants.errors import InputError, MissingDependency
from variants.machine import describe, versions
from variants.progress import NoProgress
from variants.tasks import Example

ENGINE = {"kind": "openvino", "threads": 1}
PARENT = EngineRef("cd" * 32, ENGINE)
DATA = "12" * 32


def card(n: int, **other: Any) -> Card:
    facts: dict[str, Any] = {
        "digest": "ab" * 32,
        "hardware": describe(),
        "precision": "f32",
        "versions": versions(),
        "accuracy": (Accuracy(task="mnist", value=0.9, low=0.8, high=1.0, n=n, test_sha256=DATA),),
        "artifact_bytes": 9,
        "engine": ENGINE,
        "measured_by": "a test",
        "created": datetime.now(UTC),
    }
    return Card(**facts | other)


def test_a_card_of_five_examples_is_no_card_of_a_thousand() -> None:
    few, many = card(5), card(1000)
    assert newest_valid_card([few], {"mnist": Required(1000, DATA)}, ENGINE) is None
    assert newest_valid_card([many, few], {"mnist": Required(1000, DATA)}, ENGINE) is many
    assert newest_valid_card([many, few], {"mnist": Required(5, DATA)}, ENGINE) is few
    assert newest_valid_card([], {"mnist": Required(5, DATA)}, ENGINE) is None


def test_a_task_that_a_card_does_not_know_is_measured() -> None:
    assert newest_valid_card([card(1000)], {"mnist": Required(1000, DATA), "r8": Required(10, DATA)}, ENGINE) is None


@pytest.mark.parametrize(
    "other",
    [
        {"hardware": describe().model_copy(update={"cores": 4711})},
        {"versions": versions() | {"openvino": "2020.1"}},
        {"engine": ENGINE | {"threads": 2}},
        {"engine": None},
        {"accuracy": ()},
        {"accuracy": (Accuracy(task="mnist", value=0.9, low=0.8, high=1.0, n=1000, test_sha256="34" * 32),)},
        {"accuracy": (Accuracy(task="mnist", value=0.9, low=0.8, high=1.0, n=1000),)},
    ],
)
def test_a_card_of_another_machine_other_versions_another_engine_or_other_data_does_not_count(
    other: dict[str, Any],
) -> None:
    here = card(1000)
    assert newest_valid_card([card(1000, **other)], {"mnist": Required(1000, DATA)}, ENGINE) is None
    assert newest_valid_card([here, card(1000, **other)], {"mnist": Required(1000, DATA)}, ENGINE) is here


def test_a_card_whose_speed_is_of_another_task_does_not_count() -> None:
    wanted = {"r8": Required(10, DATA), "mnist": Required(1000, DATA)}
    both = (*card(1000).accuracy, Accuracy(task="r8", value=0.9, low=0.8, high=1.0, n=10, test_sha256=DATA))
    assert newest_valid_card([card(1000, accuracy=both)], wanted, ENGINE) is None
    turned = card(1000, accuracy=both[::-1])
    assert newest_valid_card([turned], wanted, ENGINE) is turned


def test_more_examples_than_there_are_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match="--examples: mnist has 1000 examples in its test split, not 1001"):
        held_out(tasks.get("mnist"), 1001)


def test_a_card_of_schema_1_or_of_another_pair_is_measured_again() -> None:
    ratio = {"value": 1.2, "low": 1.1, "high": 1.3}
    speedup = Speedup.model_validate({"single": ratio, "saturated": ratio, "rounds": 6})
    pair = card(1000, parent_digest="cd" * 32, parent_engine=ENGINE, speedup=speedup)
    assert newest_valid_card([pair], {"mnist": Required(1000, DATA)}, ENGINE, PARENT) is pair
    assert newest_valid_card([pair], {"mnist": Required(1000, DATA)}, ENGINE, EngineRef("ef" * 32, ENGINE)) is None
    assert (
        newest_valid_card(
            [pair], {"mnist": Required(1000, DATA)}, ENGINE, EngineRef("cd" * 32, ENGINE | {"threads": 2})
        )
        is None
    )
    half = card(1000, parent_digest="cd" * 32, parent_engine=ENGINE)
    assert newest_valid_card([half], {"mnist": Required(1000, DATA)}, ENGINE, PARENT) is None, "no speedup"
    assert newest_valid_card([card(1000)], {"mnist": Required(1000, DATA)}, ENGINE, PARENT) is None
    assert newest_valid_card([card(1000, schema_=1)], {"mnist": Required(1000, DATA)}, ENGINE) is None


def test_speed_is_timed_on_examples_that_are_not_asked_again_where_there_are_others() -> None:
    task = Parity()  # 20 examples, and no calibration split
    asked = task.examples("test", 8)
    chosen = unasked(task, asked)
    assert chosen[:12] == task.examples("test")[8:]
    assert chosen[12:] == asked
    assert unasked(task, task.examples("test")) == task.examples("test")
    mnist = tasks.get("mnist")
    timed = unasked(mnist, mnist.examples("test"))
    assert len(timed) >= 116
    assert not {each.id for each in timed} & {each.id for each in mnist.examples("test")}


@pytest.mark.parametrize("task", ["r8_topics", "imagenet", "imagenet_top5", "coco96"])
def test_a_task_whose_labels_the_model_never_says_is_refused_and_not_scored_0(tmp_path: Path, task: str) -> None:
    model = make_artifact(tmp_path, "bands", "baseline", "image-classification").manifest
    with pytest.raises(InputError, match=f"models.bands.evaluate: bands@baseline never .* label of {task} ") as refused:
        check_labels(model, [tasks.get("mnist"), tasks.get(task)])
    assert tasks.get(task).labels[0] in str(refused.value.mend)
    assert "the model's are 0, 1, 2" in str(refused.value.mend)


@pytest.mark.parametrize("task", ["mnist", "mnist_top5", "scenes", "digit_prompts", "rotten_tomatoes", "r8_triplets"])
def test_labels_that_the_model_knows_and_those_that_are_not_its_own_are_asked_for(tmp_path: Path, task: str) -> None:
    model = make_artifact(tmp_path, "bands", "baseline", "image-classification").manifest
    check_labels(model, [tasks.get(task)])
    check_labels(model.model_copy(update={"labels": (*"9876543210", "none of these")}), [tasks.get(task)])
    check_labels(model.model_copy(update={"labels": None}), [tasks.get("imagenet")])


def test_labels_are_compared_before_an_engine_is_started(tmp_path: Path) -> None:
    ref = ("bands", "baseline")
    artifacts = {ref: make_artifact(tmp_path, *ref, "image-classification")}
    photograph = {"imagenet": [Example("1", b"", "n01440764 tench")]}
    with pytest.raises(InputError, match="label of imagenet"):
        evaluate_variant(make_stack(), artifacts, ref, photograph, False, NoProgress())


async def test_what_an_engine_executes_is_asked_and_none_where_it_does_not_say() -> None:
    async def metadata(request: web.Request) -> web.Response:
        return web.json_response({"name": "digits", "parameters": {"executes": "bf16"}})

    application = web.Application()
    application.router.add_get("/v2/models/digits", metadata)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("")).rstrip("/")
        assert await executes(EngineClient(session, url, "digits")) == "bf16"
        assert await executes(EngineClient(session, url, "other")) is None


def test_without_the_harness_its_tasks_are_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as where it is not installed
    variants = {
        "baseline": {"recipe": {"kind": "baseline", "dtype": "bfloat16"}, "engine": {"kind": "vllm"}, "weight": 1}
    }
    source = {"uri": "./is-not-there", "licence": "MIT"}
    tasks = ["lm_eval:a_task_without_data"]
    model = {"task": "text-generation", "source": source, "evaluate": tasks, "variants": variants}
    stack = parse({"schema": 1, "models": {"tiny": model}})
    with pytest.raises(MissingDependency, match=r"lm_eval is not installed \(pip install 'lm_eval\[api\]"):
        evaluate_stack(stack, [], None, False)
    assert not list(tmp_path.iterdir())


def test_an_engine_on_a_gpu_has_its_reserved_seconds_on_the_card() -> None:
    assert cost_gpu_s({"kind": "vllm", "resources": {"gpus": 0.5}}, throughput_per_s=20.0) == 25.0
    assert cost_gpu_s({"kind": "vllm"}, throughput_per_s=20.0) is None
    on_gpu = card(5, cost_gpu_s=25.0, cost_cpu_s=1.0, peak_gpu_bytes=2**30, throughput_per_s=20.0)
    assert "25.0 GPU-s for 1,000 requests" in describe_card(on_gpu.model_dump(mode="json"))
    on_cpu = card(5, cost_cpu_s=1.0, throughput_per_s=20.0).model_dump(mode="json")
    assert not {"cost_gpu_s", "peak_gpu_bytes"} & set(on_cpu)
    assert "GPU" not in describe_card(on_cpu)
