"""The stack file: an error names the path of the wrong field and its remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.config.loader import load, only, parse
from serve.config.stack import Adapters, Stack, TorchEngine, VllmEngine
from variants.errors import StackError, UnknownName

DEMO = Path(__file__).parents[4] / "deploy" / "stacks" / "demo.yaml"


@pytest.fixture
def demo() -> dict[str, Any]:
    return dict(yaml.safe_load(DEMO.read_text()))


def variant(document: dict[str, Any], name: str = "int8") -> dict[str, Any]:
    return dict.__getitem__(document["models"]["smollm2"]["variants"], name)


def refused(document: Any) -> str:
    with pytest.raises(StackError) as error:
        parse(document)
    return str(error.value)


def test_the_demo_is_valid_and_its_plans_keep_their_parents(demo: dict[str, Any]) -> None:
    plans = {(plan.model, plan.variant): plan for plan in parse(demo).plans()}
    assert plans["smollm2", "int8"].parent == "baseline"
    assert plans["smollm2", "baseline"].parent is None
    assert {model for model, _ in plans} == {"smollm2", "digits", "minilm"}


def test_a_typo_is_named_with_the_nearest_key(demo: dict[str, Any]) -> None:
    variant(demo)["wieght"] = variant(demo).pop("weight")
    message = refused(demo)
    assert message.startswith("models.smollm2.variants.int8.wieght: unknown key 'wieght'")
    assert "did you mean 'weight'?" in message


def test_a_weight_below_zero(demo: dict[str, Any]) -> None:
    variant(demo)["weight"] = -1
    assert refused(demo).startswith("models.smollm2.variants.int8.weight: Input should be greater than or equal to 0")


def test_all_weights_zero(demo: dict[str, Any]) -> None:
    for name in demo["models"]["smollm2"]["variants"]:
        variant(demo, name)["weight"] = 0
    assert "models.smollm2: all weights are zero: give at least one variant a weight above 0" in refused(demo)


@pytest.mark.parametrize("schema", [True, 1.0, 2, "1"])
def test_a_schema_that_is_not_the_number(demo: dict[str, Any], schema: object) -> None:
    demo["schema"] = schema
    assert refused(demo).startswith("schema")


@pytest.mark.parametrize("sticky", [1, "yes"])
def test_a_flag_that_is_no_boolean(demo: dict[str, Any], sticky: object) -> None:
    demo["models"]["smollm2"]["traffic"] = {"sticky": sticky}
    assert refused(demo).startswith("models.smollm2.traffic.sticky: ")


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "many", None, True])
def test_a_weight_that_is_no_number(demo: dict[str, Any], weight: object) -> None:
    variant(demo)["weight"] = weight
    assert refused(demo).startswith("models.smollm2.variants.int8.weight: ")


def test_an_unknown_parent_lists_the_known(demo: dict[str, Any]) -> None:
    variant(demo)["parent"] = "base"
    assert "unknown parent 'base': known are baseline, int8, nf4" in refused(demo)


def test_an_unknown_engine_lists_the_known(demo: dict[str, Any]) -> None:
    variant(demo)["engine"]["kind"] = "vlm"
    assert "engine.kind: there is no engine 'vlm': known are vllm, torch, openvino, scripted" in refused(demo)


@pytest.mark.parametrize("name", ["rotten_tomatos", "mnist"])
def test_a_task_to_evaluate_on_that_is_unknown_or_for_images(demo: dict[str, Any], name: str) -> None:
    demo["models"]["smollm2"]["evaluate"] = ["r8", name]
    message = refused(demo)
    assert message.startswith(f"models.smollm2: evaluate names {name!r}")
    assert "known are r8, rotten_tomatoes" in message


def test_a_task_of_the_harness_is_for_text_generation_by_vllm(demo: dict[str, Any]) -> None:
    demo["models"]["smollm2"]["evaluate"] = ["r8", "lm_eval:arc_easy", "lm_eval:./tasks/words"]
    assert parse(demo).models["smollm2"].evaluate[1:] == ("lm_eval:arc_easy", "lm_eval:./tasks/words")
    variant(demo)["engine"] = {"kind": "scripted"}
    assert "lm_eval asks engines of kind vllm, and 'int8' has another" in refused(demo)
    demo["models"]["digits"]["evaluate"] = ["lm_eval:arc_easy"]
    demo["models"]["smollm2"]["evaluate"] = []
    assert "lm_eval asks text-generation models, not image-classification" in refused(demo)


@pytest.mark.parametrize(
    ("model", "kind", "fitting"),
    [
        ("smollm2", "openvino", "vllm, scripted"),
        ("digits", "vllm", "openvino, torch, scripted"),
        ("minilm", "torch", "openvino, scripted"),
    ],
)
def test_an_engine_that_cannot_do_the_task(demo: dict[str, Any], model: str, kind: str, fitting: str) -> None:
    demo["models"][model]["variants"]["int8"]["engine"] = {"kind": kind}
    message = refused(demo)
    assert message.startswith(f"models.{model}: variant 'int8': engine {kind!r} does no ")
    assert f"use {fitting}" in message


def test_an_invalid_name(demo: dict[str, Any]) -> None:
    demo["models"]["Smol LM"] = demo["models"].pop("smollm2")
    assert "'Smol LM' is not a name" in refused(demo)


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_a_document_that_is_no_mapping(document: object) -> None:
    assert refused(document) == "a stack file is a mapping (start it with `schema: 1`)"


def test_a_missing_file_and_one_that_is_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="there is no file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1, 2")
    with pytest.raises(StackError, match=r"is not YAML: .*line 1"):
        load(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text("since: 2026-13-45")
    with pytest.raises(StackError, match="is not YAML: month"):
        load(tmp_path / "bad.yaml")


def test_a_folder_is_no_stack_file(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    text = DEMO.read_text()
    (tmp_path / "twice.yaml").write_text(text.replace("\n      nf4:\n", "\n      int8:\n"))
    line = text.split("\n").index("      nf4:") + 1
    with pytest.raises(StackError, match=rf"the key 'int8' is given twice .*line {line},"):
        load(tmp_path / "twice.yaml")


def test_a_value_from_a_yaml_anchor_may_be_overridden(tmp_path: Path) -> None:
    text = """
        schema: 1
        models:
          echo: &echo
            task: text-generation
            source: {uri: /nowhere, licence: MIT}
            variants: {baseline: {recipe: {kind: baseline, dtype: float32}, engine: {kind: scripted}, weight: 1}}
          other: {<<: *echo, seed: 3}
          third: {seed: 4, <<: *echo}
    """
    (tmp_path / "anchors.yaml").write_text(text)
    assert {name: model.seed for name, model in load(tmp_path / "anchors.yaml").models.items()} == {
        "echo": 0,
        "other": 3,
        "third": 4,
    }


def test_only_text_takes_adapters(demo: dict[str, Any]) -> None:
    variant(demo, "lora")["parent"] = "nf4"
    parse(demo)
    demo["models"]["digits"]["variants"]["pruned"]["engine"] = {"kind": "scripted", "adapters": {"slots": 1}}
    assert "variant 'pruned': no engine takes adapters for image-classification" in refused(demo)


def test_a_stack_that_served_text_by_torch_is_served_by_vllm(demo: dict[str, Any]) -> None:
    variant(demo, "nf4")["engine"] = {
        "kind": "torch",
        "threads": 2,
        "context": 512,
        "batch": 8,
        "adapters": {"rank": 8},
    }
    demo["models"]["digits"]["variants"]["int8"]["engine"] = {"kind": "torch", "threads": 2, "batch": 8}
    models = parse(demo).models
    expected = VllmEngine(kind="vllm", threads=2, context=512, sequences=8, adapters=Adapters(rank=8))
    assert models["smollm2"].variants["nf4"].engine == expected
    assert models["digits"].variants["int8"].engine == TorchEngine(kind="torch", threads=2)


def test_a_part_of_a_stack_has_only_the_named_variants(demo: dict[str, Any]) -> None:
    stack = parse(demo)
    part = only(stack, "smollm2", "int8", "baseline")
    assert list(part.models) == ["smollm2"]
    assert list(part.models["smollm2"].variants) == ["baseline", "int8"], "in the file's order"
    assert part.models["smollm2"].variants["int8"] == stack.models["smollm2"].variants["int8"]
    assert part.server == stack.server
    assert only(stack, "digits").models["digits"] == stack.models["digits"]
    with pytest.raises(UnknownName, match="no variant 'int9'"):
        only(stack, "smollm2", "int9")
    with pytest.raises(UnknownName, match="no model 'smollm'"):
        only(stack, "smollm")
    with pytest.raises(StackError, match="baseline"):
        only(stack, "smollm2", "int8")


def test_aliases_are_names_of_one_model_each(demo: dict[str, Any]) -> None:
    demo["models"]["smollm2"]["aliases"] = ["gpt-4o", "gpt-4o-mini"]
    assert parse(demo).aliases == {"gpt-4o": "smollm2", "gpt-4o-mini": "smollm2"}
    for taken in (["gpt-4o", "gpt-4o"], ["digits"], ["smollm2"], ["int8"]):
        demo["models"]["smollm2"]["aliases"] = taken
        assert f"the alias {taken[0]!r} is a second name of something else" in refused(demo)
    demo["models"]["smollm2"]["aliases"] = ["gpt-4o"]
    demo["models"]["digits"]["aliases"] = ["gpt-4o"]
    assert "the alias 'gpt-4o' is a second name" in refused(demo)
    demo["models"]["digits"]["aliases"] = ["GPT 4"]
    assert "'GPT 4' is not a name" in refused(demo)


def test_aliases_are_what_clients_call_models_elsewhere(demo: dict[str, Any]) -> None:
    known = ["meta-llama/Llama-3.1-8B-Instruct", "llama3:8b", "GPT-4o", "a" * 128, "org/group/model_1"]
    demo["models"]["smollm2"]["aliases"] = known
    assert list(parse(demo).aliases) == known
    for wrong in ("", "a@b", "a//b", "/a", "a/", "a/../b", "a b", "a%2Fb", "a?b", "é", "a" * 129, "a\n"):
        demo["models"]["smollm2"]["aliases"] = [wrong]
        assert "is not a name" in refused(demo), wrong


@pytest.mark.parametrize("field", ["tool_parser", "reasoning_parser"])
def test_a_parser_that_vllm_does_not_have_lists_the_known(demo: dict[str, Any], field: str) -> None:
    for name in ("--host", "./parser.py", "Hermes"):
        variant(demo)["engine"] = {"kind": "vllm", field: name}
        message = refused(demo)
        assert f"engine.vllm.{field}: " in message or f"engine.{field}: " in message
        assert "known are none, " in message
    variant(demo)["engine"] = {"kind": "vllm", field: "mistral"}
    engine = parse(demo).models["smollm2"].variants["int8"].engine
    assert getattr(engine, field) == "mistral"
    variant(demo)["engine"] = {"kind": "vllm"}
    assert field not in parse(demo).models["smollm2"].variants["int8"].engine.model_dump()


@pytest.mark.parametrize(
    ("settings", "mib"), [({}, 256), ({"body_limit_mib": 100}, 400), ({"memory_in_flight_mib": 64}, 64)]
)
def test_the_memory_in_flight_holds_the_largest_bodies(
    demo: dict[str, Any], settings: dict[str, int], mib: int
) -> None:
    assert parse(demo | {"server": settings}).server.bytes_in_flight == mib * 2**20


def test_a_memory_that_no_large_body_fits_in_is_refused(demo: dict[str, Any]) -> None:
    with pytest.raises(StackError, match="raise it to 64 or more"):
        parse(demo | {"server": {"memory_in_flight_mib": 63}})


OWN = {"data": {"uri": "./intents.csv"}, "input": "{{ text }}:", "label": "intent", "scorer": "choice"}


def test_a_task_of_ones_own_in_place_or_as_a_file(demo: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "intents.yaml").write_text(yaml.safe_dump(OWN))
    demo["models"]["smollm2"]["evaluate"] = ["r8", "intents", "wishes"]
    demo["tasks"] = {"intents": OWN, "wishes": str(tmp_path / "intents.yaml")}
    (tmp_path / "stack.yaml").write_text(yaml.safe_dump(demo))
    stack = load(tmp_path / "stack.yaml")
    assert stack.tasks["intents"] == stack.tasks["wishes"]
    assert "intents" in stack.all_tasks.names
    assert all("intents" in plan.tasks.names for plan in stack.plans())
    assert parse(stack.model_dump(mode="json", by_alias=True)) == stack  # as `apply` sends it
    demo.pop("tasks")
    assert "evaluate names 'intents'" in refused(demo)
    assert "tasks" not in parse(yaml.safe_load(DEMO.read_text())).model_dump()


def test_a_task_of_ones_own_that_does_not_fit(demo: dict[str, Any], tmp_path: Path) -> None:
    demo["tasks"] = {"intents": OWN}
    demo["models"]["digits"]["evaluate"] = ["intents"]
    assert "models.digits: evaluate names 'intents', no examples for image-classification" in refused(demo)
    demo["models"]["digits"]["evaluate"] = ["mnist"]
    demo["tasks"] = {"intents": OWN | {"scorer": "passage"}}
    assert refused(demo).startswith("tasks.intents: label: a passage has none")
    demo["tasks"] = {"mnist": OWN}
    assert "'mnist' is the name of a built-in task" in refused(demo)
    demo["tasks"] = {"intents": "./intents.yaml"}  # over the network, say: only a file on disk may name others
    assert refused(demo).startswith("tasks.intents: ")
    (tmp_path / "stack.yaml").write_text(yaml.safe_dump(demo))
    with pytest.raises(StackError, match=r"tasks.intents: ./intents.yaml cannot be read"):
        load(tmp_path / "stack.yaml")
    demo["tasks"] = {"intents": OWN | {"lable": "intent"}}
    assert "did you mean 'label'?" in refused(demo)


def test_a_data_set_is_no_model(demo: Any) -> None:
    demo["models"]["minilm"]["source"] = {"uri": "hf:datasets/org/name", "licence": "MIT"}
    with pytest.raises(StackError, match="is a data set, not a model"):
        parse(demo)


def test_the_schema_of_a_stack_takes_every_stack_of_the_project() -> None:
    """Clients check stacks by the document at /openapi.json. `oneOf` refuses an engine that two forms take."""
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(Stack.model_json_schema(by_alias=True))
    stacks = sorted((Path(__file__).parents[4] / "deploy" / "stacks").glob("*.yaml"))
    assert stacks
    for path in stacks:
        assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == [], path


def test_requests_are_kept_of_models_that_read_texts_and_not_by_default(demo: dict[str, Any]) -> None:
    assert "keep_requests" not in parse(demo).model_dump(mode="json")["models"]["smollm2"]
    demo["models"]["smollm2"]["keep_requests"] = {"days": 7}
    kept = parse(demo).models["smollm2"].keep_requests
    assert kept is not None
    assert (kept.most, kept.days) == (10_000, 7)
    demo["models"]["smollm2"]["keep_requests"] = {"most": 0}
    assert refused(demo).startswith("models.smollm2.keep_requests.most: ")
    demo["models"]["smollm2"]["keep_requests"] = None
    demo["models"]["digits"]["keep_requests"] = {}
    assert "keep_requests: image-classification reads no texts: leave it out" in refused(demo)
