"""Labels of recent requests. A parent's answer is also scored by another request's label.

Labels prove nothing if the parent's answers get the same score with any other label. Equal labels stay among the
others: a model that is right by chance is what this comparison must show.
"""

import random
from collections import deque

from serve.shadow.sampling import Label

KEPT = 64


class RecentLabels:
    """The labels of the last `KEPT` different requests, by model and task."""

    def __init__(self) -> None:
        self.recent: dict[tuple[str, str | None], deque[tuple[str, Label]]] = {}

    def add(self, model: str, task: str | None, request: str, label: Label) -> None:
        """Keep the label of a request, unless the same request is kept already. `request` is a digest."""
        known = self.recent.setdefault((model, task), deque(maxlen=KEPT))
        if all(digest != request for digest, _ in known):
            known.append((request, label))

    def draw(self, model: str, task: str | None, request: str) -> Label | None:
        """A label of another request at random; None where there is none."""
        known = self.recent.get((model, task), ())
        others = [label for digest, label in known if digest != request]
        return random.choice(others) if others else None
