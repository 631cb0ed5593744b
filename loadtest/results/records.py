"""What is kept of every request, one JSON line each, flushed as it ends: a crash loses nothing that was
written.

`records.jsonl` holds `Record`s, `slices.jsonl` the windows of the speed part as `SliceWindow`s. Reading
tolerates one cut line, the last, and says so; any other line that is not a record raises. Nothing is summed
here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from variants.errors import IntegrityError

Part = Literal["mixed", "accuracy", "speed", "warm-up"]


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(Line):
    """One request. Times are seconds; points in time are seconds since 1970 by the client's clock.

    `latency_s`, `ttft_s`: from `planned` where the arrival was planned (mixed), else from `started`; to the
    last and the first byte of the answer's body that carries a token. `tpot_s`: mean time per output token
    without the first. `slice_tokens`, `slice_share`: how much of the answer's tokens, and of the request's
    life, fell in the slice's window.
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

    @property
    def failed(self) -> bool:
        return self.error is not None


class SliceWindow(Line):
    """One slice of the speed part: when its window was open, and how many cores making the load kept busy."""

    model: str
    variant: str
    slice: int
    clients: int
    opened: float
    seconds: float
    load_cores: float


LineType = TypeVar("LineType", bound=Line)


class LineWriter(Generic[LineType]):
    """Appends lines to a file and flushes each. A context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: LineType) -> None:
        self._file.write(line.model_dump_json(exclude_none=True) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


@dataclass(frozen=True)
class Lines(Generic[LineType]):
    """What was read: the lines, and how many bytes of a cut last line were left out (0: none)."""

    lines: tuple[LineType, ...]
    cut_bytes: int

    def __iter__(self) -> Iterator[LineType]:
        return iter(self.lines)


def read_lines(path: Path, kind: type[LineType]) -> Lines[LineType]:
    """Read a file of `kind`. Raises IntegrityError naming the line that is not one, FileNotFoundError
    without a file.

    A line is whole when its line feed was written, so only what follows the last one can be a cut line.
    """
    *whole, rest = path.read_bytes().split(b"\n")
    lines = []
    for number, line in enumerate(whole, start=1):
        try:
            lines.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise IntegrityError(
                f"line {number} of {path.name} is no {kind.__name__}: {first['msg']}",
                field=where or None,
                mend="run the campaign again, or remove the line",
            ) from None
    return Lines(tuple(lines), len(rest))
