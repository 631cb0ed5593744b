"""No value of a stack file can become an option of an engine's command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from serve.config.engine_plugin import PluginEngine
from serve.config.loader import parse
from serve.config.stack import Engine, ScriptedEngine, VllmEngine
from serve.engines.launch import launch
from tests.support.plugins import installed_in, write_plugin
from tests.support.scripted import make_artifact, make_stack
from variants.errors import StackError

KINDS: tuple[type[BaseModel], ...] = tuple(
    kind for kind in (get_args(tagged)[0] for tagged in get_args(get_args(Engine)[0])) if kind is not PluginEngine
)
Place = tuple[str | int, ...]
EVIL = ("--host", "-m", "a b", "a\nb", "a\n", "\na", "", "a=b", "{port}", "../a", "a;b", "$HOME", "é", "a\x00")


def texts(schema: dict[str, Any], root: dict[str, Any], path: Place = ()) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every place of a JSON schema that takes a string, as keys and indices, with its schema."""
    if "$ref" in schema:
        yield from texts(root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
    for part in schema.get("anyOf", []):
        yield from texts(part, root, path)
    for name, part in schema.get("properties", {}).items():
        yield from texts(part, root, (*path, name))
    for part in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(part, dict):
            yield from texts(part, root, (*path, 0))
    if schema.get("type") == "string" or not schema.keys() & {"type", "$ref", "anyOf", "const", "enum"}:
        yield path, schema


def document_with(path: Place, value: str) -> Any:
    if not path:
        return value
    inner = document_with(path[1:], value)
    return [inner] if path[0] == 0 else {path[0]: inner}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_every_text_of_every_engine_is_restricted(kind: type[BaseModel]) -> None:
    schema = kind.model_json_schema()
    name = kind.model_fields["kind"].annotation
    for path, part in texts(schema, schema):
        if path == ("kind",):
            continue
        assert "pattern" in part or "enum" in part, f"{kind.__name__}: {path} takes any text"
    for path, _ in texts(schema, schema):
        for evil in EVIL:
            with pytest.raises(ValidationError):
                TypeAdapter(Engine).validate_python({"kind": get_args(name)[0]} | document_with(path, evil))


@pytest.mark.parametrize("evil", ["--host", "-m", "a\nb", "a\x00", "{port}"])
def test_no_field_of_a_plugin_becomes_an_option(tmp_path: Path, evil: str) -> None:
    code = "from serve.config.engine_plugin import EnginePlugin\nfrom variants.document import Document\n"
    code += "class Fields(Document):\n    words: dict[str, list[str]] = {}\n"
    code += "it = EnginePlugin(('text-generation',), lambda fields, artifact, name: ['{port}'], Fields)\n"
    write_plugin(tmp_path, "ours-free", "engines", "free", code)
    engine: TypeAdapter[Engine] = TypeAdapter(Engine)
    with installed_in(tmp_path):
        assert engine.validate_python({"kind": "free", "words": {"a": ["b c"]}}).kind == "free"
        wrong: tuple[dict[str, list[str]], ...] = ({"a": ["b", evil]}, {evil: []})
        for words in wrong:
            with pytest.raises(ValidationError, match="could become an option of a command"):
                engine.validate_python({"kind": "free", "words": words})


def test_the_walk_reaches_nested_settings() -> None:
    schema = VllmEngine.model_json_schema()
    assert ("adapters", "modules", 0) in [path for path, _ in texts(schema, schema)]


@pytest.mark.parametrize("evil", EVIL)
def test_names_are_restricted_too(evil: str) -> None:
    document = make_stack().model_dump(mode="json", by_alias=True)
    (model, served), *_ = document["models"].items()
    (variant, settings), *_ = served["variants"].items()
    for models in (
        {evil: served},
        {model: served | {"variants": {evil: settings}}},
        {model: served | {"variants": {variant: settings | {"engine": {"kind": evil}}}}},
    ):
        with pytest.raises(StackError):
            parse(document | {"models": models})


def test_modules_stay_arguments_of_their_option(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "echo", "baseline", "text-generation")
    settings = VllmEngine.model_validate({"kind": "vllm", "adapters": {"modules": ["q_proj", "gate_up_proj"]}})
    command = launch(settings, artifact.path, artifact.manifest, "echo@baseline").command
    at = command.index("--lora-target-modules")
    assert command[at + 1 : at + 3] == ("q_proj", "gate_up_proj")
    assert not [part for part in command[at + 1 :] if part.startswith("-")]
    scripted = launch(ScriptedEngine(kind="scripted"), artifact.path, artifact.manifest, "echo@baseline").command
    assert scripted.count("--host") == 1
