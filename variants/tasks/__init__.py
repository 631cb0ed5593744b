"""Tasks: labelled examples, seeded and split. `get("mnist")`; the names are in `NAMES`."""

from collections.abc import Callable
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

_TASKS: dict[str, Callable[[Path | None, Progress | None], Task]] = {
    "coco96": Coco96,
    "imagenet": Imagenet,
    "imagenet_top5": ImagenetTop5,
    "digit_prompts": DigitPrompts,
    "mnist": Mnist,
    "mnist_top5": MnistTop5,
    "r8": R8,
    "r8_topics": R8Topics,
    "r8_triplets": R8Triplets,
    "rotten_tomatoes": RottenTomatoes,
    "scenes": Scenes,
    "tale_endings": TaleEndings,
    "tales": Tales,
}
NAMES = tuple(sorted(_TASKS))


def get(name: str, home: Path | None = None, progress: Progress | None = None) -> Task:
    """The task of that name; its data is fetched into `home` (default: `variants.home.home()`) when first asked for.

    UnknownName for a name that is not in NAMES.
    """
    if name not in _TASKS:
        raise UnknownName(f"there is no task {name!r}", field="task", mend=f"one of {', '.join(NAMES)}")
    return _TASKS[name](home, progress)
