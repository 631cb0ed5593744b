"""A detector's output -> labelled boxes: reading it (`variants.vision.detector` says what it holds), and dropping
doubles.

In numpy, outside of the compiled model and the same for every variant, so that no precision touches it. A place answers
for its likeliest class alone, as YOLOX was published. Of boxes of one class that overlap too much the surest stays
(greedy non-maximum suppression); detectors of queries learn to answer once (Carion et al. 2020, arXiv 2005.12872), and
say so by an overlap of 1.
"""

import numpy as np
import numpy.typing as npt

from variants.vision.boxes import Box
from variants.vision.detector import Detector

Floats = npt.NDArray[np.float32]
Detections = tuple[Floats, npt.NDArray[np.int64], Floats]
"""Corners [n, 4] in pixels of the input, classes [n] and scores [n] of all that might be answered."""
CANDIDATES = 1000
"""The surest answers that doubles are looked for among: an image of noise would have a box a place."""


def boxes_of(
    predictions: Floats,
    detector: Detector,
    labels: tuple[str, ...],
    scale: tuple[float, float],
    size: tuple[int, int],
) -> list[Box]:
    """The boxes of one image, surest first, in its own pixels and inside of it. `predictions` is what the model gave,
    `scale` (across, down) and `size` (width, height) what `variants.vision.letterbox.pixels_of` gave."""
    corners, classes, scores = _DECODERS[detector.decoder](predictions, detector)
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    places = order[scores[order] >= detector.least]
    corners, classes, scores = corners[places], classes[places], scores[places]
    kept = surest(corners, scores, classes, detector.overlap, detector.most)
    most = np.array([*size, *size], np.float32)
    inside = np.clip(corners[kept] / np.array([*scale, *scale], np.float32), 0, most)
    return [
        Box(labels[kind], left, top, right, bottom, min(score, 1.0))
        for kind, (left, top, right, bottom), score in zip(
            classes[kept], inside.tolist(), scores[kept].tolist(), strict=True
        )
    ]


def yolox(predictions: Floats, detector: Detector) -> Detections:
    values = predictions[0]
    grid = np.concatenate([_places(detector.size, stride) for stride in detector.strides])
    rows = [(detector.size[0] // stride) * (detector.size[1] // stride) for stride in detector.strides]
    strides = np.repeat(np.array(detector.strides, np.float32), rows)[:, None]
    middle = (values[:, :2] + grid) * strides
    # A width beyond exp(10) strides is no width: it would only overflow.
    half = np.exp(np.minimum(values[:, 2:4], 10)) * strides / 2
    corners = np.concatenate([middle - half, middle + half], axis=1)
    return _likeliest(corners, values[:, 4:5] * values[:, 5:])


def centernet(predictions: Floats, detector: Detector) -> Detections:
    stride = detector.strides[0]
    values = predictions[0].reshape(predictions.shape[1], -1).T
    middle = (_places(detector.size, stride) + np.float32(0.5)) * stride
    reach = np.logaddexp(np.float32(0), values[:, -4:]) * stride
    corners = np.concatenate([middle - reach[:, :2], middle + reach[:, 2:]], axis=1)
    return _likeliest(corners, _sigmoid(values[:, :-4]))


def detr(predictions: Floats, detector: Detector) -> Detections:
    logits = predictions[0, :, 4:]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = shares / shares.sum(axis=1, keepdims=True)
    return _likeliest(_corners_of_shares(predictions, detector), scores[:, :-1])


def detr_focal(predictions: Floats, detector: Detector) -> Detections:
    """Each query for each class; of all of them the surest, as many as there are queries."""
    scores = _sigmoid(predictions[0, :, 4:])
    queries, classes = np.divmod(np.argsort(-scores, axis=None, kind="stable")[: len(scores)], scores.shape[1])
    return _corners_of_shares(predictions, detector)[queries], classes, scores[queries, classes]


_DECODERS = {"yolox": yolox, "centernet": centernet, "detr": detr, "detr-focal": detr_focal}


def _likeliest(corners: Floats, scores: Floats) -> Detections:
    """Each place with its likeliest class; `scores` is [places, classes]."""
    return corners, scores.argmax(axis=1), scores.max(axis=1)


def _sigmoid(logits: Floats) -> Floats:
    shares: Floats = (1 / (1 + np.exp(-np.clip(logits, -50, 50)))).astype(np.float32)
    return shares


def _corners_of_shares(predictions: Floats, detector: Detector) -> Floats:
    height, width = detector.size
    middle, half = predictions[0, :, :2], predictions[0, :, 2:4] / 2
    corners: Floats = np.concatenate([middle - half, middle + half], axis=1) * np.array(
        [width, height] * 2, dtype=np.float32
    )
    return corners


def _places(size: tuple[int, int], stride: int) -> Floats:
    """Column and row of each place, row by row: float32 [places, 2]."""
    rows, columns = np.mgrid[: size[0] // stride, : size[1] // stride]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def surest(
    corners: Floats, scores: Floats, classes: npt.NDArray[np.int64], overlap: float, most: int
) -> npt.NDArray[np.int64]:
    """Which boxes stay, surest first, at most `most`. `corners` [n, 4]; boxes of other classes are no doubles."""
    order = np.argsort(-scores, kind="stable")
    if overlap == 1:
        return order[:most]
    area = (corners[:, 2] - corners[:, 0]).clip(0) * (corners[:, 3] - corners[:, 1]).clip(0)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[rest, :2])
        high = np.minimum(corners[best, 2:], corners[rest, 2:])
        shared = (high - low).clip(0).prod(axis=1)
        union = area[best] + area[rest] - shared
        double = (classes[rest] == classes[best]) & (shared > overlap * union)
        order = rest[~double]
    return np.array(kept, np.int64)
