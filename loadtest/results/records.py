"""The record of every request, as one JSON line that is flushed at once, so that a crash loses no earlier line.

`records.jsonl` contains `Record`s. `slices.jsonl` contains the windows of the speed part as `SliceWindow`s. A last line
that was cut is left out and reported; any other invalid line raises an error.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Self, TypeVar

from pydantic import ValidationError

from variants.document import Document, explain
from variants.errors import IntegrityError

Part = Literal["mixed", "accuracy", "speed", "warm-up"]


class Record(Document):
    """One request. Durations are seconds; points in time are seconds since 1970 by the client's clock.

    `latency_s` and `ttft_s` begin at `planned` for a planned arrival (mixed), else at `started`. They end at the last
    and at the first byte of the body with a token. `tpot_s` is the mean time per output token without the first.
    `slice_tokens` and `slice_share` are the number of tokens and the share of the duration inside the slice's window.
    `score` is what a `scorer` of shares, such as F1, gives the answer: 0 to 1.
    """

    part: Part
    slice: int | None = None
    model: str
    variant_asked: str | None = None
    variant: str | None = None
    reason: str | None = None
    request_id: str | None = None
    artifact: str | None = None
    client: str | None = None
    task: str
    example: str
    planned: float | None = None
    started: float
    latency_s: float
    ttft_s: float | None = None
    tpot_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    slice_tokens: float | None = None
    slice_share: float | None = None
    status: int
    error: str | None = None
    answer: str | None = None
    label: str | None = None
    correct: bool | None = None
    scorer: str | None = None
    score: float | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None


class SliceWindow(Document):
    """One slice of the speed part: when its window opened (seconds since 1970), its length, and the mean number of
    cores that the load generator kept busy."""

    model: str
    variant: str
    slice: int
    clients: int
    opened: float
    seconds: float
    load_cores: float


LineType = TypeVar("LineType", bound=Document)
Value = TypeVar("Value")


class LineWriter(Generic[LineType]):
    """A context manager that appends lines to a file and flushes each."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)  # text files flush each line

    def write(self, line: LineType) -> None:
        self._file.write(line.model_dump_json(exclude_none=True) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@dataclass(frozen=True)
class Lines(Generic[LineType]):
    """The lines of a file, and the number of bytes in a cut last line, which is left out (0: none)."""

    lines: tuple[LineType, ...]
    cut_bytes: int

    def __iter__(self) -> Iterator[LineType]:
        return iter(self.lines)


def read_lines(path: Path, kind: type[LineType]) -> Lines[LineType]:
    """Read a file of `kind`. Raises IntegrityError with the number of an invalid line, and FileNotFoundError.

    A line ends with a line feed, so only the text after the last line feed can be a cut line.
    """
    *whole, rest = path.read_bytes().split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            lines.append(kind.model_validate_json(line))
        except ValidationError as error:
            fault = explain(error)
            raise IntegrityError(
                f"line {number} of {path.name} is not a valid {kind.__name__}: {fault.message}",
                field=fault.field,
                mend="run the campaign again, or remove the line",
            ) from None
    return Lines(tuple(lines), len(rest))


def by_example(records: Iterable[Record], value_of: Callable[[Record], Value | None]) -> dict[str, dict[str, Value]]:
    """The values of the accuracy part, by task and example. Records that failed or have no value are left out. Raises
    IntegrityError for a repeated example."""
    tasks: dict[str, dict[str, Value]] = {}
    for record in records:
        if record.part != "accuracy" or record.failed or (value := value_of(record)) is None:
            continue
        task = tasks.setdefault(record.task, {})
        if record.example in task:
            raise IntegrityError(f"{record.example} was asked twice: repeats are not data", field=record.task)
        task[record.example] = value
    return tasks
