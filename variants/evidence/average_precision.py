"""COCO's mean average precision of detections, with an interval over images.

COCOeval of pycocotools matches the boxes (Lin et al. 2014, arXiv 1405.0312: overlaps from 0.5 to 0.95, all areas, 100
boxes an image). Its second step, `accumulate`, sorts and sums in loops, which would take too long for a thousand
resamples. Here the same sums are computed over arrays, weighted by how often each image was drawn. With every image
drawn once, the result equals COCOeval's; a test checks it. Labels are compared by name, so no list of labels is needed.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from variants.evidence import bootstrap
from variants.vision.boxes import Box

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

MOST = 100
METRICS = ("mAP50", "mAP50-95")
_RECALLS = 101


@dataclass(frozen=True)
class _Label:
    """The answered boxes of one label over all images, highest score first.

    `image` int64 [d]: the image of each box. `right` bool [10, d]: whether it is matched, at each of ten overlaps.
    `counts` bool [10, d]: whether COCOeval counts it. `wanted` int64 [n]: how many boxes of the label each image has.
    """

    image: "Array"
    right: "Array"
    counts: "Array"
    wanted: "Array"


def statistic(metric: str, detections: Sequence[Sequence[Box]], wanted: Sequence[Sequence[Box]]) -> bootstrap.Statistic:
    """mAP50 or mAP50-95 as a function of how often each image is drawn. Position i of both is the same image.

    ValueError for another metric, when the lengths differ or are zero, or when no image has a box.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}: {' or '.join(METRICS)}")
    if len(detections) != len(wanted) or not wanted:
        raise ValueError(f"answers to {len(detections)} images, labels of {len(wanted)}: need as many, at least one")
    if not any(wanted):
        raise ValueError("no image has a box: there is nothing to find")
    return partial(_mean, _matched(coco_eval(detections, wanted)), 1 if metric == "mAP50" else 10)


def _mean(labels: Sequence[_Label], overlaps: int, counts: "npt.NDArray[np.int64]") -> float:
    """The mean over overlaps and over the labels of the drawn images; 0 where these have no label."""
    precisions = [_average_precision(label, counts, overlaps) for label in labels if counts @ label.wanted]
    return sum(precisions) / len(precisions) if precisions else 0.0


def coco_eval(detections: Sequence[Sequence[Box]], wanted: Sequence[Sequence[Box]]) -> Any:
    """A COCOeval that has matched the boxes: all areas, at most `MOST` boxes an image."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    names = sorted({box.label for boxes in (*detections, *wanted) for box in boxes})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    with contextlib.redirect_stdout(io.StringIO()):
        truth, answers = COCO(), COCO()
        for dataset, images in ((truth, wanted), (answers, detections)):
            dataset.dataset = {
                "images": [{"id": image} for image in range(1, len(images) + 1)],
                "categories": [{"id": number, "name": name} for name, number in numbers.items()],
                "annotations": _annotations(images, numbers),
            }
            dataset.createIndex()
        evaluation = COCOeval(truth, answers, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
    return evaluation


def _annotations(images: Sequence[Sequence[Box]], numbers: dict[str, int]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image, boxes in enumerate(images, start=1):
        for box in boxes:
            width, height = box.right - box.left, box.bottom - box.top
            annotation = {
                "id": len(annotations) + 1, "image_id": image, "category_id": numbers[box.label], "iscrowd": 0,
                "bbox": [box.left, box.top, width, height], "area": width * height, "score": box.score,
            }  # fmt: skip
            annotations.append(annotation)
    return annotations


def _matched(evaluation: Any) -> list[_Label]:
    """The matches of a COCOeval by label. Labels that no image has are left out, as in COCO's own mean."""
    import numpy as np

    n = len(evaluation.params.imgIds)
    labels = []
    for at in range(len(evaluation.params.catIds)):
        images = evaluation.evalImgs[at * n : (at + 1) * n]
        wanted = np.array([0 if one is None else int((one["gtIgnore"] == 0).sum()) for one in images])
        if not wanted.any():
            continue
        here = [(image, one) for image, one in enumerate(images) if one is not None]
        scores = np.concatenate([one["dtScores"] for _, one in here])
        order = np.argsort(-scores, kind="mergesort")
        labels.append(
            _Label(
                np.concatenate([np.full(len(one["dtScores"]), image) for image, one in here])[order].astype(np.int64),
                np.concatenate([one["dtMatches"] != 0 for _, one in here], axis=1)[:, order],
                np.concatenate([one["dtIgnore"] == 0 for _, one in here], axis=1)[:, order],
                wanted,
            )
        )
    return labels


def _average_precision(label: _Label, drawn: "npt.NDArray[np.int64]", overlaps: int) -> float:
    """COCOeval's `accumulate` for one label: the mean of the precision envelope over 101 recalls and over overlaps."""
    import numpy as np

    weight = drawn[label.image] * label.counts[:overlaps]
    right = np.cumsum(weight * label.right[:overlaps], axis=1)
    answered = np.cumsum(weight, axis=1)
    precision = right / (answered + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = right / (drawn @ label.wanted)
    total = 0.0
    for mine, reached in zip(envelope, recall, strict=True):
        places = np.searchsorted(reached, np.linspace(0, 1, _RECALLS), side="left")
        total += mine[places[places < len(mine)]].sum() / _RECALLS
    return float(total / len(envelope))
