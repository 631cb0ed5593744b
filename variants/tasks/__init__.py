"""Tasks: labelled examples, seeded and split. `get("mnist")` gives a built-in one; `NAMES` has the names of all.

A `Tasks` also has those that a stack file or a campaign file defines. `lm_eval:NAME` gives a task of
lm-evaluation-harness; these evaluate, and are no tasks of campaigns or labels.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from variants.errors import UnknownName
from variants.progress import Progress
from variants.tasks.base import Example, Kind, Prompt, Split, Task
from variants.tasks.coco96 import Coco96
from variants.tasks.digit_prompts import DigitPrompts
from variants.tasks.file_task import FileTask
from variants.tasks.harness.definition import PREFIX
from variants.tasks.harness.harness_task import HarnessTask
from variants.tasks.imagenet import Imagenet, ImagenetTop5
from variants.tasks.mnist import Mnist, MnistTop5
from variants.tasks.r8 import R8
from variants.tasks.r8_topics import R8Topics
from variants.tasks.r8_triplets import R8Triplets
from variants.tasks.rotten_tomatoes import RottenTomatoes
from variants.tasks.scenes import Scenes
from variants.tasks.tale_endings import TaleEndings
from variants.tasks.tales import Tales
from variants.tasks.task_file import TaskFile

__all__ = ["BUILT_IN", "NAMES", "Example", "Kind", "Prompt", "Split", "Task", "Tasks", "check_names", "get"]

_CLASSES: tuple[type[Task], ...] = (
    Coco96, DigitPrompts, Imagenet, ImagenetTop5, Mnist, MnistTop5, R8, R8Topics, R8Triplets, RottenTomatoes, Scenes,
    TaleEndings, Tales,
)  # fmt: skip
_TASKS = {task.name: task for task in _CLASSES}
NAMES = tuple(sorted(_TASKS))


def check_names(own: dict[str, TaskFile]) -> dict[str, TaskFile]:
    """The same tasks. Raises ValueError for one with the name of a built-in one."""
    if taken := next((name for name in own if name in _TASKS), None):
        raise ValueError(f"{taken!r} is the name of a built-in task: choose another")
    return own


class Tasks:
    """The built-in tasks and `own` ones, by name. The names of `own` ones are checked where they are read."""

    def __init__(self, own: Mapping[str, TaskFile] = MappingProxyType({})) -> None:
        self.own = own

    def __contains__(self, name: object) -> bool:
        return name in _TASKS or name in self.own

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted((*NAMES, *self.own)))

    @staticmethod
    def is_harness(name: str) -> bool:
        """Whether the name is of a task of lm-evaluation-harness."""
        return name.startswith(PREFIX)

    def kind(self, name: str) -> Kind:
        """The kind of a task's examples, without its data. Raises UnknownName."""
        if self.is_harness(name):
            return "harness"
        return self.own[name].kind if name in self.own else self.get(name).kind

    def get(self, name: str, home: Path | None = None, progress: Progress | None = None) -> Task:
        """The task of that name. Its data is fetched into `home` (default: `variants.home.home()`) when it is first
        used.

        Raises UnknownName for a name that is not in `names`.
        """
        if name in self.own:
            return FileTask(name, self.own[name], home, progress)
        if self.is_harness(name):
            return HarnessTask(name, home, progress)
        if name not in _TASKS:
            raise UnknownName(f"there is no task {name!r}", field="task", mend=f"one of {', '.join(self.names)}")
        return _TASKS[name](home, progress)


BUILT_IN = Tasks()
get = BUILT_IN.get
