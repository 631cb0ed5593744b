"""Shows the progress of a campaign: a bar on a terminal, elsewhere a line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

PLAIN_EVERY_S = 5.0


@dataclass(frozen=True)
class Step:
    """The state of a campaign: `done` of `of` (requests, or seconds of a window), and `left_s`, the expected seconds to
    its end (None if unknown)."""

    part: str
    text: str
    done: float
    of: float
    left_s: float | None


Progress = Callable[[Step], None]


@contextmanager
def open_progress(console: Console | None = None) -> Iterator[Progress]:
    """A `Progress` that shows each step on this console, by default on standard error."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _plain(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("load", total=1, left="")

        def show(step: Step) -> None:
            description = f"{step.part}: {step.text}"
            bars.update(bar, description=description, completed=step.done, total=step.of, left=_left(step))

        yield show


def _plain(console: Console) -> Progress:
    last_at, last_text = -PLAIN_EVERY_S, ""

    def show(step: Step) -> None:
        nonlocal last_at, last_text
        now = time.monotonic()
        if now - last_at < PLAIN_EVERY_S and (step.text == last_text or now - last_at < 1):
            return
        last_at, last_text = now, step.text
        share = 100 * min(1.0, step.done / step.of) if step.of else 100
        console.print(
            f"load  {step.part:<8}  {step.text}  {share:.0f} %  {_left(step)}", highlight=False, soft_wrap=True
        )

    return show


def _left(step: Step) -> str:
    if step.left_s is None:
        return ""
    minutes, seconds = divmod(max(0, round(step.left_s)), 60)
    return f"about {minutes}:{seconds:02d} left"
