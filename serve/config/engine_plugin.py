"""Engines of other distributions: plug-ins of the group `understudy.engines`, each an `EnginePlugin`.

A stack file names one as it names a built-in one: `engine: {kind: shout, mark: "!"}`. The fields beside `kind` are the
plug-in's own, and its document checks them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from serve.config.resources import NOTHING, Asked
from variants import plugins
from variants.artifacts.manifest import TaskKind
from variants.document import Document, Fault, explain
from variants.errors import PluginError

BUILT_IN = ("vllm", "torch", "openvino", "scripted")
UNSAFE = re.compile(r"^-|[\x00-\x1f\x7f]|\{port\}")
"""Texts that no field of a plug-in may have: its process gets them on its command line."""


class NoFields(Document):
    """The fields of an engine that has none beside `kind`."""


@dataclass(frozen=True)
class EnginePlugin:
    """An engine for models of `tasks`. `fields` is the document of its fields in a stack file.

    `command` gets that document, the artifact's folder, and the model name that the engine answers to. It gives the
    command of a process that serves HTTP on the loopback port `{port}`: the routes of its tasks (docs/plugins.md), and
    200 for `/health` once it is ready. `memory_mib` estimates what the engine needs beside the artifact, in MiB."""

    tasks: tuple[TaskKind, ...]
    command: Callable[[Any, Path, str], Sequence[str]]
    fields: type[Document] = NoFields
    memory_mib: int = 512


@cache
def engine_plugin(name: str) -> tuple[plugins.Plugin, EnginePlugin] | None:
    """The entry point and the engine of that name; None where none is installed. Raises PluginError."""
    plugin = plugins.find("engines", name, BUILT_IN)
    if plugin is None:
        return None
    engine: EnginePlugin = plugin.load(lambda given: isinstance(given, EnginePlugin), "EnginePlugin")
    return plugin, engine


def texts_of(given: Any) -> Iterator[str]:
    """Every text in JSON data, keys too."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        yield from given
        for each in given.values():
            yield from texts_of(each)
    elif isinstance(given, list | tuple):
        for each in given:
            yield from texts_of(each)


def wrong_field(fields: type[Document], own: dict[str, Any]) -> Fault | None:
    """What is wrong with the first wrong field, None where all are right."""
    try:
        fields.model_validate(own)
    except ValidationError as error:
        return explain(error)
    return None


class PluginEngine(Document):
    """The engine of a plug-in, with the plug-in's fields. `plugin` is the name with the distribution's version, so that
    another version is another engine: it is filled in, whatever is given."""

    model_config = ConfigDict(extra="allow")

    # Every other engine has one of the built-in kinds: a schema's `oneOf` would refuse what fits two.
    kind: str = Field(json_schema_extra={"not": {"enum": list(BUILT_IN)}})
    plugin: str = Field(default="", description="filled in")
    resources: Asked = NOTHING

    @model_validator(mode="before")
    @classmethod
    def check_kind(cls, given: Any) -> Any:
        """Raises ValueError for an unknown kind, PluginError for a plug-in that cannot be used."""
        if not isinstance(given, dict):
            return given
        kind = given.get("kind")
        added = engine_plugin(kind) if isinstance(kind, str) else None
        if added is None:
            known = ", ".join((*BUILT_IN, *plugins.names("engines")))
            raise ValueError(f"there is no engine {kind!r}: known are {known}")
        return given | {"plugin": added[0].identity}

    @model_validator(mode="after")
    def check_fields(self) -> Self:
        if unsafe := next((text for text in texts_of(self.own) if UNSAFE.search(text)), None):
            raise ValueError(f"{unsafe!r:.80} could become an option of a command: no '-' first, no control characters")
        plugin, engine = self.added
        with plugin.called("fails to check its fields"):
            fault = wrong_field(engine.fields, self.own)
        if fault is not None:
            known = ", ".join(engine.fields.model_fields) or "none"
            where = f"{fault.field}: " if fault.field else ""
            raise ValueError(f"{where}{fault.message}; the fields of {self.kind} are: {known}")
        return self

    @property
    def own(self) -> dict[str, Any]:
        """The plug-in's own fields."""
        return dict(self.model_extra or {})

    @property
    def added(self) -> tuple[plugins.Plugin, EnginePlugin]:
        """Its entry point and its engine."""
        added = engine_plugin(self.kind)
        assert added is not None  # `check_kind` has seen it
        return added

    @property
    def definition(self) -> EnginePlugin:
        return self.added[1]

    def command(self, artifact: Path, name: str) -> tuple[str, ...]:
        """The command that starts it on the artifact's folder. Raises PluginError."""
        plugin, engine = self.added
        with plugin.called("fails to give its command"):
            command = tuple(engine.command(engine.fields.model_validate(self.own), artifact, name))
        if not all(isinstance(part, str) for part in command) or not any("{port}" in part for part in command):
            raise PluginError(f"{plugin.identity} gives no command with {{port}}", mend="write it where the port goes")
        return command
