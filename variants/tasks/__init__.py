"""Tasks: labelled examples, seeded and split. `get("mnist")`; the names are in `NAMES`."""

from collections.abc import Callable
from pathlib import Path

from variants.errors import UnknownName
from variants.progress import Progress
from variants.tasks.base import Example, Prompt, Split, Task
from variants.tasks.digit_prompts import DigitPrompts
from variants.tasks.mnist import Mnist
from variants.tasks.r8 import R8
from variants.tasks.r8_triplets import R8Triplets
from variants.tasks.rotten_tomatoes import RottenTomatoes

__all__ = ["NAMES", "Example", "Prompt", "Split", "Task", "get"]

_TASKS: dict[str, Callable[[Path | None, Progress | None], Task]] = {
    "digit_prompts": DigitPrompts,
    "mnist": Mnist,
    "r8": R8,
    "r8_triplets": R8Triplets,
    "rotten_tomatoes": RottenTomatoes,
}
NAMES = tuple(sorted(_TASKS))


def get(name: str, home: Path | None = None, progress: Progress | None = None) -> Task:
    """The task of that name; its data is fetched into `home` (default: `variants.home.home()`) when first asked for.

    UnknownName for a name that is not in NAMES.
    """
    if name not in _TASKS:
        raise UnknownName(f"there is no task {name!r}", field="task", mend=f"one of {', '.join(NAMES)}")
    return _TASKS[name](home, progress)
