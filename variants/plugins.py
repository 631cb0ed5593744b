"""Plug-ins: tasks, scorers, methods and engines that other distributions add by entry points.

    [project.entry-points."understudy.tasks"]
    colours = "understudy_colours:Colours"

Names are read from the distributions' metadata. A plug-in is imported only when its name is asked for, so a broken one
disturbs nobody else. docs/plugins.md says what each group's entry points are.
"""

import errno
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from variants.errors import PluginError, UnderstudyError

Group = Literal["tasks", "scorers", "methods", "engines"]
GROUPS: tuple[Group, ...] = get_args(Group)
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
TASK_NAME = re.compile(r"[a-z0-9_]+")
"""What recipes, stack files and campaigns may name: no '-'."""


@dataclass(frozen=True)
class Plugin:
    """One entry point: its group, its name, and the distribution that it is of."""

    group: Group
    name: str
    entry: EntryPoint

    @property
    def distribution(self) -> str:
        """Its distribution with the version: `understudy-colours 0.1.0`."""
        of = self.entry.dist
        return f"{of.name} {of.version}" if of else "a distribution without metadata"

    @property
    def identity(self) -> str:
        """Name, distribution and version, for keys and manifests: `keep@understudy-keep-0.1.0`."""
        return f"{self.name}@{self.distribution.replace(' ', '-')}"

    def load(self, is_right: Callable[[Any], bool], wanted: str) -> Any:
        """Import it. Raises PluginError where that fails, and where `is_right` says that it is not `wanted`."""
        with self.called("cannot be imported"):
            loaded = self.entry.load()
        if not is_right(loaded):
            raise self.refused(f"is no {wanted}", f"let {self.entry.value} be one")
        return loaded

    @contextmanager
    def called(self, failed: str) -> Iterator[None]:
        """Call its code inside: what that raises becomes a PluginError that says what `failed`.
        Our own errors pass, and a full disk."""
        try:
            yield
        except UnderstudyError:
            raise
        except (Exception, SystemExit) as error:  # whatever code of somebody else's raises
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise self.refused(f"{failed}: {why}") from error

    def refused(self, why: str, mend: str | None = None) -> PluginError:
        """The error that names distribution and entry point."""
        name = self.distribution.partition(" ")[0]
        mend = mend or f"install a version of {name} that works, or run `pip uninstall {name}`"
        where = f"the entry point {self.name!r} of understudy.{self.group} in {self.distribution}"
        return PluginError(f"{where} {why}", mend=mend)


@cache
def installed() -> Mapping[Group, tuple[Plugin, ...]]:
    """All plug-ins by group, by name. It is read once in a process."""
    return {
        group: tuple(
            Plugin(group, entry.name, entry)
            for entry in sorted(entry_points(group=f"understudy.{group}"), key=lambda each: (each.name, each.value))
        )
        for group in GROUPS
    }


def names(group: Group) -> tuple[str, ...]:
    """The names of a group's plug-ins, each once."""
    return tuple(dict.fromkeys(plugin.name for plugin in installed()[group]))


def find(group: Group, name: str, built_in: Collection[str]) -> Plugin | None:
    """The plug-in of that name, None where none is installed.

    Raises PluginError where the name is taken by one that is built in or by a second plug-in, or is no name."""
    of_name = [plugin for plugin in installed()[group] if plugin.name == name]
    if not of_name:
        return None
    first = of_name[0]
    if name in built_in:
        raise first.refused("has the name of a built-in one", rename(first))
    if len(of_name) > 1:
        raise first.refused(f"has the name of another one, in {of_name[1].distribution}", rename(first))
    if not NAME.fullmatch(name):
        raise first.refused("has no name of a-z, 0-9, '_' and '-'", rename(first))
    if group == "tasks" and not TASK_NAME.fullmatch(name):
        raise first.refused("has '-' in its name, and the name of a task has a-z, 0-9 and '_' only", rename(first))
    return first


def rename(plugin: Plugin) -> str:
    name = plugin.distribution.partition(" ")[0]
    return f"give the entry point another name, or run `pip uninstall {name}`"
