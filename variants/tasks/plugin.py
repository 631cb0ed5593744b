"""Tasks of other distributions: plug-ins of the group `understudy.tasks`, each a subclass of `Task` with its name."""

import inspect
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from variants import plugins
from variants.document import canonical_sha256
from variants.metrics.answer_scores import SCORES, made_by
from variants.metrics.kinds import OTHER_KINDS
from variants.progress import Progress
from variants.tasks.base import Task

NOT_OF_PLUGINS = ("harness", "schema")
"""Samples of lm-evaluation-harness are asked by itself alone. A schema comes from a stack file, and not as the label of
a live request."""


@cache
def plugin_class(name: str, built_in: Collection[str]) -> type[Task] | None:
    """The class of the plug-in of that name; None where none is installed. Raises PluginError."""
    plugin = plugins.find("tasks", name, built_in)
    if plugin is None:
        return None
    task: type[Task] = plugin.load(is_task, "whole subclass of variants.tasks.Task")
    if getattr(task, "name", None) != name:
        raise plugin.refused(f"is named {getattr(task, 'name', None)!r}", f"let its class say `name = {name!r}`")
    kind = getattr(task, "kind", None)
    if not isinstance(kind, str) or kind in NOT_OF_PLUGINS or kind not in (*OTHER_KINDS, *SCORES):
        raise plugin.refused(f"has examples of kind {kind!r}", "see variants/tasks/base.py for the kinds")
    return task


def is_task(given: Any) -> bool:
    return isinstance(given, type) and issubclass(given, Task) and not inspect.isabstract(given)


def open_plugin(task: type[Task], home: Path | None, progress: Progress | None) -> Task:
    """The task. Its definition is its own distribution and version, and those of a scorer that is a plug-in too."""
    plugin = plugins.find("tasks", task.name, ())
    assert plugin is not None  # `plugin_class` has loaded it
    with plugin.called("cannot be opened"):
        opened = task(home, progress)
    scored_by = made_by(task.kind)
    opened.plugin = plugin
    opened.made_by = tuple(each for each in (plugin.identity, scored_by) if each)
    opened.definition_sha256 = canonical_sha256(opened.made_by)
    return opened
