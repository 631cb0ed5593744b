"""The segments of a pair that are known without a declaration: its length, whether it is streamed, and its task."""

from collections import deque

from serve.shadow.sampling import Sample

RECENT = 1000
LEAST = 100
"""Quartiles of fewer lengths say little."""


class Lengths:
    """Lengths of the last sampled requests of each model, in bytes."""

    def __init__(self) -> None:
        self.recent: dict[str, deque[int]] = {}

    def quartile(self, model: str, length: int) -> str | None:
        """The quartile, `q1` to `q4`, of a length among those known before it; None where few are known. Then the
        length is known too."""
        known = self.recent.setdefault(model, deque(maxlen=RECENT))
        shorter, count = sum(each < length for each in known), len(known)
        known.append(length)
        return f"q{min(3, 4 * shorter // count) + 1}" if count >= LEAST else None


def with_built_in(sample: Sample, streamed: bool, quartile: str | None) -> dict[str, str]:
    """All segments of a sample, the declared ones included."""
    known = {"length": quartile, "streamed": "yes" if streamed else "no", "task": sample.task}
    return {name: value for name, value in known.items() if value is not None} | dict(sample.segments)
