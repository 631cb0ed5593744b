"""Why an engine ended, as its log says it."""

import re
from collections import deque
from pathlib import Path

LAST = 3
"""Lines that are shown where none names an exception."""
LOOKED_AT = 200
"""The latest lines that are searched: libraries write on after a traceback."""
EXCEPTION = re.compile(r"(?:^|[ \]])((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: .{1,400})?)")
WRAPPER = "Engine core initialization failed"
"""vLLM's words of its first process. What went wrong stands before them."""


def reason_in(log: Path, code: int | None) -> str:
    """The last exception in the log of an engine that ended with an exit code by itself, or else the last lines."""
    try:
        with log.open(errors="replace") as file:
            lines = [line.strip() for line in deque(file, maxlen=LOOKED_AT)]
    except OSError as error:  # someone has removed it
        return f"its log cannot be read: {error}"
    named = (match[1] for line in reversed(lines) if WRAPPER not in line and (match := EXCEPTION.search(line)))
    reason = next(named, None) if code is not None and code > 0 else None  # by a signal: what it had logged is older
    return reason or " | ".join(lines[-LAST:])
