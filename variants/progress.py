"""Progress of long work: what is done, how far it is, and how long it still takes.

Long work reports to a `Progress`. On a terminal, `BarProgress` draws the bars of rich. Elsewhere (a log, CI),
`LineProgress` prints a line when a step begins, every few seconds, and when it ends.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

Unit = Literal["", "bytes"]


class Step(Protocol):
    def to(self, done: float, total: float | None = None) -> None:
        """Report the amount done so far, in the unit of the step. `total` replaces the total given before."""


class Progress(Protocol):
    def step(self, what: str, total: float | None = None, unit: Unit = "") -> AbstractContextManager[Step]:
        """Begin a step. It ends with the context. Steps may be nested."""


class NoProgress:
    """Shows nothing."""

    def to(self, done: float, total: float | None = None) -> None:
        pass

    @contextmanager
    def step(self, what: str, total: float | None = None, unit: Unit = "") -> Iterator[Step]:
        yield self


class LineProgress:
    """Prints lines for a log: at most one in `every` seconds for each step, besides its first and its last."""

    def __init__(self, stream: TextIO = sys.stderr, every: float = 5.0) -> None:
        self.stream = stream
        self.every = every

    @contextmanager
    def step(self, what: str, total: float | None = None, unit: Unit = "") -> Iterator[Step]:
        line = _Line(self, what, total, unit)
        self.print(f"{what} ...")
        yield line
        self.print(f"{what}: done in {time.monotonic() - line.began:.1f} s")

    def print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class _Line:
    def __init__(self, owner: LineProgress, what: str, total: float | None, unit: Unit) -> None:
        self._owner, self._what, self._total, self._unit = owner, what, total, unit
        self.began = self._printed = time.monotonic()

    def to(self, done: float, total: float | None = None) -> None:
        self._total = total if total is not None else self._total
        now = time.monotonic()
        if now - self._printed < self._owner.every:
            return
        self._printed = now
        if not self._total or not done:
            self._owner.print(f"{self._what}: {_amount(done, self._unit)}, {now - self.began:.0f} s so far")
            return
        left = (now - self.began) * (self._total - done) / done
        amounts = f"{_amount(done, self._unit)} of {_amount(self._total, self._unit)}"
        self._owner.print(f"{self._what}: {amounts}, about {left:.0f} s left")


def _amount(value: float, unit: Unit) -> str:
    return f"{value / 1e6:.1f} MB" if unit == "bytes" else f"{value:g}"


class BarProgress:
    """Draws the bars of rich. They stay on the screen until the outermost step ends."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars
        from rich.progress import TextColumn, TimeElapsedColumn

        columns = (*Bars.get_default_columns(), TextColumn("left, elapsed"), TimeElapsedColumn())
        self._bars: RichBars = Bars(*columns, console=Console(file=stream))
        self._depth = 0

    @contextmanager
    def step(self, what: str, total: float | None = None, unit: Unit = "") -> Iterator[Step]:
        if self._depth == 0:
            self._bars.start()
        self._depth += 1
        bar = self._bars.add_task(what, total=total)
        try:
            yield _Bar(self._bars, bar)
            finished = self._bars.tasks[self._bars.task_ids.index(bar)]
            self._bars.update(bar, total=finished.total or 1, completed=finished.total or 1)
        finally:
            self._bars.stop_task(bar)
            self._depth -= 1
            if self._depth == 0:
                self._bars.stop()


class _Bar:
    def __init__(self, bars: "RichBars", bar: "TaskID") -> None:
        self._bars, self._bar = bars, bar

    def to(self, done: float, total: float | None = None) -> None:
        self._bars.update(self._bar, completed=done, total=total)


def for_stream(stream: TextIO = sys.stderr) -> Progress:
    """Bars where `stream` is a terminal, lines elsewhere."""
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)
