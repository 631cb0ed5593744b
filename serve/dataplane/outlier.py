"""Outlier ejection: a variant whose requests fail one after the other gets none for a while.

As in Envoy: consecutive failures (5xx of the engine, time-outs), and pauses that grow with each ejection.
"""

from dataclasses import dataclass

CONSECUTIVE = 5
FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 300.0
FORGIVEN = 50
"""After this number of answers in a row, the next pause is the first one again."""


@dataclass
class Outlier:
    """The results of one variant's requests."""

    failures: int = 0
    answers: int = 0
    ejections: int = 0

    def note(self, failed: bool) -> bool:
        """Count one result. True if the variant is now an outlier; counting then starts again."""
        if not failed:
            self.failures, self.answers = 0, self.answers + 1
            if self.answers >= FORGIVEN:
                self.ejections = 0
            return False
        self.failures, self.answers = self.failures + 1, 0
        if self.failures < CONSECUTIVE:
            return False
        self.failures = 0
        return True

    def pause_s(self) -> float:
        """The length of the next ejection, in seconds; each is twice as long as the one before."""
        self.ejections += 1
        return min(FIRST_PAUSE_S * 2.0 ** (self.ejections - 1), LAST_PAUSE_S)
