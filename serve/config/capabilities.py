"""What a variant can answer, and what a request needs.

A capability is derived from the settings of the variant's engine and from its artifact. The router places a request
only among variants that have all that it needs."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from serve.config.model_folder import most_positions, read_config
from serve.config.parsers import parsers_of
from serve.config.stack import Engine, ScriptedEngine, VllmEngine
from variants.artifacts.manifest import TaskKind
from variants.errors import StackError

CONTEXT = 2048
"""Tokens of context where the stack file gives none: more takes key-value cache that few clients use."""
Feature = Literal["tools", "json_schema", "logprobs", "vision"]


@dataclass(frozen=True)
class Capabilities:
    """What one variant can answer. `context` is in tokens, prompt and answer together; None where it is not known.
    `adapters`: its engine loads low-rank adapters."""

    tools: bool = False
    json_schema: bool = False
    logprobs: bool = False
    vision: bool = False
    adapters: bool = False
    context: int | None = None

    def to_json(self) -> dict[str, bool | int | None]:
        return asdict(self)


@dataclass(frozen=True)
class Needs:
    """What one request needs. `features` has, by feature, the field of the request that asks for it. `context` is the
    number of tokens that `context_field` alone makes certain; 0 for none."""

    features: Mapping[Feature, str] = field(default_factory=dict)
    context: int = 0
    context_field: str = "prompt"


NOTHING = Needs()


@dataclass(frozen=True)
class Lack:
    """Something that a request needs and a variant does not have: the request's field, and what is needed in words."""

    field: str
    needed: str
    is_context: bool = False


WORDS: Mapping[Feature, str] = {
    "tools": "tool calls",
    "json_schema": "structured output",
    "logprobs": "log probabilities",
    "vision": "images in a prompt",
}


def lack(can: Capabilities, needs: Needs) -> Lack | None:
    """The first thing that is missing; None where the request can be answered."""
    for feature, name in needs.features.items():
        if not getattr(can, feature):
            return Lack(name, WORDS[feature])
    if can.context is not None and needs.context > can.context:
        return Lack(needs.context_field, f"a context of {needs.context} tokens", is_context=True)
    return None


def union(of_variants: Iterable[Capabilities]) -> Capabilities:
    """What at least one of several variants can answer, with the smallest context."""
    each = list(of_variants)
    return Capabilities(
        tools=any(can.tools for can in each),
        json_schema=any(can.json_schema for can in each),
        logprobs=any(can.logprobs for can in each),
        vision=any(can.vision for can in each),
        adapters=any(can.adapters for can in each),
        context=min((can.context for can in each if can.context is not None), default=None),
    )


def capabilities_of(engine: Engine, task: TaskKind, folder: Path) -> Capabilities:
    """What an engine can answer with the model in `folder`."""
    if task != "text-generation":
        return Capabilities()
    if isinstance(engine, VllmEngine):
        return Capabilities(
            tools=parsers_of(folder, engine.tool_parser, engine.reasoning_parser).tools is not None,
            json_schema=True,
            logprobs=True,
            vision="vision_config" in read_config(folder),
            adapters=engine.adapters is not None,
            context=engine.context,
        )
    if isinstance(engine, ScriptedEngine):
        return Capabilities(
            json_schema=True, logprobs=True, adapters=engine.adapters is not None, context=engine.context
        )
    return Capabilities()


def with_context(engine: Engine, folder: Path, where: str) -> Engine:
    """The engine with a context for the model in `folder`. Raises StackError if the stack file gives one above the
    model's positions. `where` is the path of the variant in the stack file."""
    if not isinstance(engine, VllmEngine):
        return engine
    most: Any = most_positions(read_config(folder))
    if engine.context is None:
        return engine.model_copy(update={"context": min(CONTEXT, most or CONTEXT)})
    if most is not None and engine.context > most:
        raise StackError(
            f"the model has {most} positions, fewer than {engine.context}",
            field=f"{where}.engine.context",
            mend=f"context: {most}, or less",
        )
    return engine
