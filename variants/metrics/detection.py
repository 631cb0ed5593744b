"""The metrics of tasks whose labels are boxes: mAP50, which detectors are judged by, mAP50-95 and F1.

None of them is a share of right answers, so each has a bootstrap interval over images (`variants.evidence.detection`).
An answer is right when its boxes and those of the label match one to one; only boxes with a score from
`variants.vision.boxes.SURE` on count. Two answers are the same under the same condition.
"""

from collections.abc import Sequence

from variants.evidence import detection
from variants.evidence.intervals import Interval
from variants.metrics.base import Metric
from variants.metrics.outcome import Outcome
from variants.vision import boxes


class DetectionMetric(Metric):
    """One of `variants.evidence.detection.METRICS`, by its name."""

    def right(self, kind: str, answer: str, label: str) -> bool:
        return boxes.outcome(answer, label) == 1

    def agrees(self, answer: str, other: str) -> bool | None:
        return boxes.outcome(answer, other) == 1

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return detection.measure(self.name, *_texts(outcomes))

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        answers, labels = _texts(theirs)
        return detection.difference(self.name, _texts(ours)[0], answers, labels)


def _texts(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    return [each.answer for each in outcomes], [each.label for each in outcomes]


METRICS = tuple(DetectionMetric(name, "share") for name in detection.METRICS)
