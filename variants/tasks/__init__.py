"""Tasks: labelled examples, seeded and split. `get("mnist")` gives one; `NAMES` has the names of all."""

from pathlib import Path

from variants.errors import UnknownName
from variants.progress import Progress
from variants.tasks.base import Example, Prompt, Split, Task
from variants.tasks.coco96 import Coco96
from variants.tasks.digit_prompts import DigitPrompts
from variants.tasks.imagenet import Imagenet, ImagenetTop5
from variants.tasks.mnist import Mnist, MnistTop5
from variants.tasks.r8 import R8
from variants.tasks.r8_topics import R8Topics
from variants.tasks.r8_triplets import R8Triplets
from variants.tasks.rotten_tomatoes import RottenTomatoes
from variants.tasks.scenes import Scenes
from variants.tasks.tale_endings import TaleEndings
from variants.tasks.tales import Tales

__all__ = ["NAMES", "Example", "Prompt", "Split", "Task", "get"]

_CLASSES: tuple[type[Task], ...] = (
    Coco96, DigitPrompts, Imagenet, ImagenetTop5, Mnist, MnistTop5, R8, R8Topics, R8Triplets, RottenTomatoes, Scenes,
    TaleEndings, Tales,
)  # fmt: skip
_TASKS = {task.name: task for task in _CLASSES}
NAMES = tuple(sorted(_TASKS))


def get(name: str, home: Path | None = None, progress: Progress | None = None) -> Task:
    """The task of that name. Its data is downloaded into `home` (default: `variants.home.home()`) when it is first
    used.

    Raises UnknownName for a name that is not in NAMES.
    """
    if name not in _TASKS:
        raise UnknownName(f"there is no task {name!r}", field="task", mend=f"one of {', '.join(NAMES)}")
    return _TASKS[name](home, progress)
