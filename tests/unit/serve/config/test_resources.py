"""What an engine may ask for. Settings that ask for nothing are written as before there were resources."""

from typing import Any

import pytest

from serve.config.loader import parse
from serve.config.stack import OpenVinoEngine, ScriptedEngine, TorchEngine, VllmEngine
from tests.support.scripted import make_stack
from variants.errors import StackError


def parsed(engine: dict[str, Any], model: str = "echo") -> Any:
    document = make_stack().model_dump(mode="json", by_alias=True)
    document["models"][model]["variants"]["baseline"]["engine"] = engine
    return parse(document).models[model].variants["baseline"].engine


@pytest.mark.parametrize(
    ("engine", "model", "says"),
    [
        ({"kind": "vllm", "resources": {"gpus": 1.5}}, "echo", "1.5 is neither a share of one GPU nor whole"),
        ({"kind": "vllm", "resources": {"gpus": -1}}, "echo", "greater than or equal to 0"),
        ({"kind": "vllm", "resources": {"gpus": float("nan")}}, "echo", "less than or equal to 64"),
        ({"kind": "vllm", "resources": {"gpus": True}}, "echo", "valid number"),
        ({"kind": "vllm", "resources": {"gpu": 1}}, "echo", "did you mean 'gpus'"),
        ({"kind": "vllm", "kv_cache_dtype": "fp8"}, "echo", "kv_cache_dtype fp8 needs a GPU"),
        ({"kind": "vllm", "eager": 1}, "echo", "valid boolean"),
        ({"kind": "torch", "resources": {"gpus": 2}}, "bands", "torch uses one GPU, not 2: gpus: 1, or less"),
        ({"kind": "openvino", "resources": {"gpus": 0.5}}, "bands", "openvino runs on the CPU alone: leave gpus out"),
    ],
)
def test_what_no_engine_may_ask_for(engine: dict[str, Any], model: str, says: str) -> None:
    with pytest.raises(StackError) as refused:
        parsed(engine, model)
    assert says in str(refused.value)
    assert str(refused.value.field).startswith(f"models.{model}.variants.baseline.engine")


def test_shares_cores_and_memory_are_read() -> None:
    asked = parsed({"kind": "scripted", "resources": {"gpus": 0.5, "cpus": 2, "memory_mib": 4096}}).resources
    assert (asked.gpus, asked.cpus, asked.memory_mib) == (0.5, 2, 4096)
    assert parsed({"kind": "vllm", "resources": {"gpus": 2}, "kv_cache_dtype": "fp8"}).kv_cache_dtype == "fp8"
    assert parsed({"kind": "openvino", "resources": {"cpus": 1}}, "bands").resources.cpus == 1


def test_settings_without_resources_are_written_as_before() -> None:
    for engine in (
        VllmEngine(kind="vllm"), TorchEngine(kind="torch"), OpenVinoEngine(kind="openvino"),
        ScriptedEngine(kind="scripted"),
    ):  # fmt: skip
        assert not {"resources", "eager", "kv_cache_dtype"} & set(engine.model_dump(mode="json"))
    given = VllmEngine.model_validate({"kind": "vllm", "eager": True, "resources": {"gpus": 1}})
    written = given.model_dump(mode="json")
    assert (written["eager"], written["resources"]["gpus"]) == (True, 1)
    assert VllmEngine.model_validate(written) == given


def test_logical_gpus_are_a_setting_of_the_server() -> None:
    document = make_stack().model_dump(mode="json", by_alias=True)
    assert "logical_gpus" not in document["server"]
    document["server"]["logical_gpus"] = {"count": 2, "memory_mib": 24576}
    logical = parse(document).server.logical_gpus
    assert logical is not None
    assert (logical.count, logical.memory_mib) == (2, 24576)
