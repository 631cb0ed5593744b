"""What a variant can answer, from its engine and its artifact, and what is refused at the door."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.config.capabilities import Capabilities, Needs, lack, union
from serve.config.snapshot import ServedVariant, build_snapshot
from serve.config.stack import VllmEngine
from serve.dataplane.needs import check_needs, lacks_of
from serve.dataplane.router import Target
from tests.support.scripted import make_artifacts, make_stack, with_variants
from variants.artifacts.store import Artifact
from variants.errors import InputError, StackError

TOOLS = "{{ messages }}{% if tools %}<tool_call>{{ tools }}{% endif %}"
NEEDS_TOOLS = Needs({"tools": "tools"})


def served(home: Path, files: dict[str, str], **variants: dict[str, Any]) -> dict[str, ServedVariant]:
    """Variants of `echo`. Each artifact has these files beside its own."""
    stack = with_variants(make_stack(), "echo", variants)
    artifacts: dict[tuple[str, str], Artifact] = make_artifacts(home, stack)
    for artifact in artifacts.values():
        for name, content in files.items():
            (artifact.model_path / name).write_text(content)
    of_stack = build_snapshot(stack, artifacts).variants
    return {name: of_stack["echo", name] for name in variants}


def vllm(**settings: Any) -> dict[str, Any]:
    return {"weight": 1, "engine": {"kind": "vllm", **settings}}


def test_a_vllm_variant_has_tools_where_its_template_has(tmp_path: Path) -> None:
    adapters = {"adapters": {"slots": 2}}
    config = json.dumps({"model_type": "qwen2", "vision_config": {}})
    with_tools = served(
        tmp_path / "a", {"chat_template.jinja": TOOLS, "config.json": config},
        plain=vllm(context=1024, **adapters), off=vllm(tool_parser="none"),
    )  # fmt: skip
    assert with_tools["plain"].capabilities == Capabilities(True, True, True, True, True, 1024)
    assert with_tools["off"].capabilities.tools is False
    without = served(
        tmp_path / "b", {"chat_template.jinja": "{{ messages }}"}, plain=vllm(), told=vllm(tool_parser="xlam")
    )
    assert without["plain"].capabilities == Capabilities(False, True, True, False, False, 2048)
    assert without["told"].capabilities.tools is True


def test_other_engines_say_what_they_have(tmp_path: Path) -> None:
    scripted = served(tmp_path, {}, one={"weight": 1, "engine": {"kind": "scripted", "context": 64}})
    assert scripted["one"].capabilities == Capabilities(json_schema=True, logprobs=True, context=64)
    stack = make_stack()
    snapshot = build_snapshot(stack, make_artifacts(tmp_path, stack))
    assert snapshot.variants["bands", "baseline"].capabilities == Capabilities()


@pytest.mark.parametrize("config", [{"n_positions": 1024}, {"max_position_embeddings": 1024}])
def test_a_context_above_the_models_positions_is_refused_with_the_largest(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    files = {"config.json": json.dumps(config)}
    with pytest.raises(StackError) as refused:
        served(tmp_path / "above", files, baseline=vllm(context=1025))
    assert refused.value.field == "models.echo.variants.baseline.engine.context"
    assert "1024" in str(refused.value.mend)
    assert served(tmp_path / "equal", files, baseline=vllm(context=1024))["baseline"].capabilities.context == 1024


@pytest.mark.parametrize(("positions", "context"), [(1024, 1024), (32768, 2048), (None, 2048)])
def test_a_context_that_is_not_given_fits_the_model(tmp_path: Path, positions: int | None, context: int) -> None:
    config = {} if positions is None else {"max_position_embeddings": positions}
    variant = served(tmp_path, {"config.json": json.dumps(config)}, baseline=vllm())["baseline"]
    assert variant.capabilities.context == context
    settings = variant.engine.settings
    assert isinstance(settings, VllmEngine)
    assert settings.context == context


def test_a_model_has_what_one_of_its_variants_has_and_the_smallest_context() -> None:
    one, other = Capabilities(tools=True, context=2048), Capabilities(logprobs=True, context=512)
    assert union([one, other, Capabilities()]) == Capabilities(tools=True, logprobs=True, context=512)
    assert union([]) == Capabilities()


def test_what_is_missing_names_the_field_of_the_request() -> None:
    can = Capabilities(tools=True, context=128)
    assert lack(can, Needs({"tools": "tools"}, 128)) is None
    missing = lack(can, Needs({"tools": "tools", "logprobs": "echo"}))
    assert missing is not None
    assert missing.field == "echo"
    long = lack(can, Needs({}, 129, "max_tokens"))
    assert long is not None
    assert (long.field, long.is_context) == ("max_tokens", True)
    assert lack(Capabilities(), Needs({}, 10**9)) is None  # its context is not known


@pytest.fixture
def of_model(tmp_path: Path) -> dict[str, ServedVariant]:
    files = {"chat_template.jinja": TOOLS}
    scripted = {"weight": 1, "engine": {"kind": "scripted", "context": 64}}
    return served(tmp_path, files, plain=scripted, tools={**vllm(), "weight": 0}, long=vllm(tool_parser="none"))


def refused(
    of_model: dict[str, ServedVariant], needs: Needs, variant: str | None = None, pin: str | None = None
) -> Any:
    with pytest.raises(InputError) as error:
        check_needs(Target("echo", variant), of_model, lacks_of(of_model, needs), pin)
    return error.value


def test_what_nobody_with_traffic_can_answer_names_the_field_and_who_can(of_model: dict[str, ServedVariant]) -> None:
    error = refused(of_model, NEEDS_TOOLS)
    assert (error.field, error.mend) == ("tools", "ask echo@tools")
    check_needs(Target("echo"), of_model, lacks_of(of_model, NEEDS_TOOLS), pin="tools")
    error = refused(of_model, Needs({"vision": "messages"}))
    assert (error.field, error.mend) == ("messages", "send text alone")
    check_needs(Target("echo"), of_model, lacks_of(of_model, Needs({"json_schema": "response_format"})), pin=None)


def test_a_named_variant_that_cannot_answer(of_model: dict[str, ServedVariant]) -> None:
    error = refused(of_model, NEEDS_TOOLS, "plain")
    assert "echo@plain does not offer tool calls" in str(error)
    assert error.mend == "ask echo@tools"
    error = refused(of_model, Needs({}, 3000, "max_tokens"), "plain")
    assert (error.code, error.field) == ("context_length_exceeded", "max_tokens")
    assert error.mend == "at most 2048 tokens"
    lacks = lacks_of(of_model, NEEDS_TOOLS)
    check_needs(Target("echo", "unknown"), of_model, lacks, pin=None)  # the router names the known variants
