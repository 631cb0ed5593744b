"""Methods of other distributions: plug-ins of the group `understudy.methods`, each a `MethodPlugin`.

A recipe asks for one by name: `{kind: plugin, method: keep, options: {...}}`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import ValidationError

from variants import plugins
from variants.artifacts.manifest import TaskKind
from variants.document import Document, explain
from variants.errors import PluginError, RecipeError
from variants.methods.base import BuildJob, MethodResult


class NoOptions(Document):
    """The options of a method that has none."""


@dataclass(frozen=True)
class MethodPlugin:
    """A method for models of `tasks`. `options` is the document that checks a recipe's options; `build` gets it as its
    second argument. `version`, `starts_from` and `capability` are as for `Method`: raise `version` when the output
    changes."""

    tasks: tuple[TaskKind, ...]
    build: Callable[[BuildJob[Any], Any], MethodResult]
    version: int = 1
    options: type[Document] = NoOptions
    starts_from: Literal["source", "parent", "either", "both"] = "either"
    capability: float | None = None


@cache
def method_plugin(name: str, built_in: frozenset[str]) -> tuple[plugins.Plugin, MethodPlugin]:
    """The entry point and the method of that name. Raises PluginError, also where none is installed."""
    plugin = plugins.find("methods", name, built_in)
    if plugin is None:
        known = ", ".join(plugins.names("methods")) or "none"
        raise PluginError(f"no plug-in adds a method {name!r}", mend=f"install it; installed are {known}")
    method: MethodPlugin = plugin.load(lambda given: isinstance(given, MethodPlugin), "MethodPlugin")
    return plugin, method


def checked_options(plugin: plugins.Plugin, method: MethodPlugin, options: Mapping[str, Any], field: str) -> Document:
    """The options of a recipe as the method's document. RecipeError, with a path below `field`, for wrong ones,
    PluginError where the check itself fails."""
    with plugin.called("fails to check its options"):
        try:
            return method.options.model_validate(dict(options))
        except ValidationError as error:
            fault = explain(error)
            where = f"{field}.options" + (f".{fault.field}" if fault.field else "")
            known = ", ".join(method.options.model_fields) or "none"
            raise RecipeError(fault.message, field=where, mend=f"its options are: {known}") from None
