"""The metrics of a detector, and the difference of two detectors on the same images, with intervals.

Answers and labels are texts of `variants.vision.boxes`. Detectors are judged by `mAP50`. `mAP50-95` needs tighter
boxes. `F1` is the mean of the outcomes that labelled requests have during serving.
"""

from collections.abc import Sequence

from variants.evidence import average_precision, bootstrap
from variants.evidence.intervals import Interval
from variants.vision.boxes import from_text, outcome

METRICS = (*average_precision.METRICS, "F1")


def measure(metric: str, answers: Sequence[str], labels: Sequence[str]) -> Interval:
    """The metric over all images with its 95 % bootstrap interval. Position i of both is the same image.

    ValueError for another metric, for no images, or for text that is not a list of boxes.
    """
    return bootstrap.interval(_statistic(metric, answers, labels), len(labels))


def difference(metric: str, ours: Sequence[str], theirs: Sequence[str], labels: Sequence[str]) -> Interval:
    """How much larger the metric is for `ours`, with the 95 % interval of the paired difference. ValueError as for
    `measure`."""
    first, second = _statistic(metric, ours, labels), _statistic(metric, theirs, labels)
    return bootstrap.paired_difference(first, second, len(labels))


def _statistic(metric: str, answers: Sequence[str], labels: Sequence[str]) -> bootstrap.Statistic:
    if metric == "F1":
        return bootstrap.mean([outcome(answer, label) for answer, label in zip(answers, labels, strict=True)])
    detections, wanted = [from_text(answer) for answer in answers], [from_text(label) for label in labels]
    return average_precision.statistic(metric, detections, wanted)
