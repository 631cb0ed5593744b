"""Tasks: labelled examples, seeded and split. `get("mnist")` gives a built-in one; `NAMES` has the names of all.

A `Tasks` also has those that plug-ins add (`variants.plugins`), and those that a stack file or a campaign file defines.
`lm_eval:NAME` gives a task of lm-evaluation-harness; these evaluate, and are no tasks of campaigns or labels.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from variants import plugins
from variants.errors import UnknownName
from variants.progress import Progress
from variants.tasks.base import Chat, Example, Kind, Prompt, Split, Task
from variants.tasks.coco96 import Coco96
from variants.tasks.digit_prompts import DigitPrompts
from variants.tasks.file_task import FileTask
from variants.tasks.harness.definition import PREFIX
from variants.tasks.harness.harness_task import HarnessTask
from variants.tasks.imagenet import Imagenet, ImagenetTop5
from variants.tasks.mnist import Mnist, MnistTop5
from variants.tasks.picture_prompts import PicturePrompts
from variants.tasks.plugin import open_plugin, plugin_class
from variants.tasks.r8 import R8
from variants.tasks.r8_topics import R8Topics
from variants.tasks.r8_triplets import R8Triplets
from variants.tasks.rotten_tomatoes import RottenTomatoes
from variants.tasks.scenes import Scenes
from variants.tasks.tale_endings import TaleEndings
from variants.tasks.tales import Tales
from variants.tasks.task_file import TaskFile

__all__ = ["BUILT_IN", "NAMES", "Chat", "Example", "Kind", "Prompt", "Split", "Task", "Tasks", "check_names", "get"]

_CLASSES: tuple[type[Task], ...] = (
    Coco96, DigitPrompts, Imagenet, ImagenetTop5, Mnist, MnistTop5, PicturePrompts, R8, R8Topics, R8Triplets,
    RottenTomatoes, Scenes, TaleEndings, Tales,
)  # fmt: skip
_TASKS = {task.name: task for task in _CLASSES}
NAMES = tuple(sorted(_TASKS))


def check_names(own: dict[str, TaskFile]) -> dict[str, TaskFile]:
    """The same tasks. Raises ValueError for one with the name of a built-in one or of a plug-in."""
    for name in own:
        if name in _TASKS:
            raise ValueError(f"{name!r} is the name of a built-in task: choose another")
        if name in plugins.names("tasks"):
            raise ValueError(f"{name!r} is the name of a task that a plug-in adds: choose another")
    return own


class Tasks:
    """The built-in tasks, those of plug-ins, and `own` ones, by name. The names of `own` ones are checked where they
    are read. A plug-in is imported when its task is asked for."""

    def __init__(self, own: Mapping[str, TaskFile] = MappingProxyType({})) -> None:
        self.own = own

    def __contains__(self, name: object) -> bool:
        return name in _TASKS or name in self.own or name in plugins.names("tasks")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({*NAMES, *self.own, *plugins.names("tasks")}))

    def of_kinds(self, kinds: Collection[str]) -> tuple[str, ...]:
        """The names of the tasks with examples of these kinds, for messages: without plug-ins, whose kinds are not
        known before they are imported."""
        known = {name: task.kind for name, task in _TASKS.items()} | {name: own.kind for name, own in self.own.items()}
        return tuple(name for name in sorted(known) if known[name] in kinds)

    @staticmethod
    def is_harness(name: str) -> bool:
        """Whether the name is of a task of lm-evaluation-harness."""
        return name.startswith(PREFIX)

    def kind(self, name: str) -> Kind:
        """The kind of a task's examples, without its data. Raises UnknownName, PluginError."""
        if self.is_harness(name):
            return "harness"
        return self.own[name].kind if name in self.own else self._class(name).kind

    def get(self, name: str, home: Path | None = None, progress: Progress | None = None) -> Task:
        """The task of that name. Its data is fetched into `home` (default: `variants.home.home()`) when it is first
        used.

        Raises UnknownName for a name that is not in `names`, PluginError for a plug-in that cannot be used.
        """
        if name in self.own:
            return FileTask(name, self.own[name], home, progress)
        if self.is_harness(name):
            return HarnessTask(name, home, progress)
        task = self._class(name)
        return task(home, progress) if name in _TASKS else open_plugin(task, home, progress)

    def _class(self, name: str) -> type[Task]:
        if (added := plugin_class(name, NAMES)) is not None:
            return added
        if name not in _TASKS:
            raise UnknownName(f"there is no task {name!r}", field="task", mend=f"one of {', '.join(self.names)}")
        return _TASKS[name]


BUILT_IN = Tasks()
get = BUILT_IN.get
