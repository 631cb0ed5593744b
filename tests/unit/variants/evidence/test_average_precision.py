"""mAP is COCOeval's own number, and its intervals are of the images."""

import contextlib
import io
import random
from collections.abc import Sequence

import numpy as np
import pytest

from variants.evidence import bootstrap, detection
from variants.evidence.average_precision import METRICS, coco_eval, statistic
from variants.evidence.intervals import Interval
from variants.vision.boxes import Box, to_text

Images = list[list[Box]]


def made(seed: int, images: int = 25, sloppy: float = 3.0) -> tuple[Images, Images]:
    """Found and wanted boxes: some missed, some invented, some of the wrong label, all a little off."""
    draw = random.Random(seed)
    detections, wanted = [], []
    for _ in range(images):
        truth, answers = [], []
        for _ in range(draw.randint(0, 4)):
            left, top = draw.uniform(0, 60), draw.uniform(0, 60)
            box = Box(draw.choice("abc"), left, top, left + draw.uniform(8, 30), top + draw.uniform(8, 30))
            truth.append(box)
            if draw.random() < 0.85:
                off = [side + draw.gauss(0, sloppy) for side in box[1:5]]
                corners = min(off[0], off[2]), min(off[1], off[3]), max(off[0], off[2]), max(off[1], off[3])
                label = box.label if draw.random() < 0.9 else draw.choice("abcd")
                answers.append(Box(label, *corners, score=draw.choice([0.2, 0.5, draw.random()])))
        answers += [Box(draw.choice("abc"), 5.0, 5.0, 25.0, 25.0, draw.random()) for _ in range(draw.randint(0, 2))]
        detections.append(answers)
        wanted.append(truth)
    return detections, wanted


def interval(detections: Images, wanted: Images, metric: str, resamples: int) -> Interval:
    return bootstrap.interval(statistic(metric, detections, wanted), len(wanted), resamples=resamples)


def cocos_own(detections: Sequence[Sequence[Box]], wanted: Sequence[Sequence[Box]]) -> tuple[float, float]:
    """mAP50 and mAP50-95 as COCOeval sums them up."""
    evaluation = coco_eval(detections, wanted)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # [overlaps, recalls, labels]; -1 where a label has no box
    assert precision.shape[:2] == (10, 101)
    known = precision[:, :, (precision > -1).all(axis=(0, 1))]
    return float(known[0].mean()), float(known.mean())


@pytest.mark.parametrize("seed", range(6))
def test_with_every_image_once_it_is_cocos_own_number(seed: int) -> None:
    detections, wanted = made(seed)
    once = np.ones(len(wanted), np.int64)
    mine = tuple(statistic(metric, detections, wanted)(once) for metric in METRICS)
    assert mine == pytest.approx(cocos_own(detections, wanted), abs=1e-12)
    assert 0.05 < mine[1] < mine[0] < 0.95


def test_a_resample_is_near_cocos_number_of_the_drawn_images() -> None:
    detections, wanted = made(3, images=40)
    figure = statistic("mAP50-95", detections, wanted)
    drawn = np.random.default_rng(0).integers(0, 40, 40)
    counts = np.bincount(drawn, minlength=40)
    theirs = cocos_own([detections[at] for at in drawn], [wanted[at] for at in drawn])[1]
    assert figure(counts) == pytest.approx(theirs, abs=0.01)


def test_perfect_is_one_and_nothing_is_zero() -> None:
    _, wanted = made(1)
    assert interval(wanted, wanted, "mAP50-95", 20).low == pytest.approx(1, abs=1e-9)
    nothing = interval([[] for _ in wanted], wanted, "mAP50", 20)
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0)


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    detections, wanted = made(4, images=60)
    worse = [
        [box._replace(label="a") if index % 7 == 0 else box for index, box in enumerate(boxes)] for boxes in detections
    ]
    better, poorer = statistic("mAP50", detections, wanted), statistic("mAP50", worse, wanted)
    apart = bootstrap.paired_difference(better, poorer, 60, resamples=200)
    assert 0 < apart.low < apart.value < apart.high
    one, other = interval(detections, wanted, "mAP50", 200), interval(worse, wanted, "mAP50", 200)
    assert apart.value == pytest.approx(one.value - other.value)
    assert apart.high - apart.low < one.high - one.low
    same = bootstrap.paired_difference(better, better, 60, resamples=20)
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_what_cannot_be_measured_is_refused() -> None:
    detections, wanted = made(0)
    with pytest.raises(ValueError, match="as many"):
        statistic("mAP50", detections[1:], wanted)
    with pytest.raises(ValueError, match="nothing to find"):
        statistic("mAP50", [[]], [[]])
    with pytest.raises(ValueError, match="mAP50 or mAP50-95"):
        statistic("mAP75", detections, wanted)
    answers, labels = [to_text(boxes) for boxes in detections], [to_text(boxes) for boxes in wanted]
    with pytest.raises(ValueError, match="as many"):
        detection.difference("mAP50", answers, answers[1:], labels)


def test_the_same_from_text_with_f1_beside_it() -> None:
    detections, wanted = made(2)
    answers, labels = [to_text(boxes) for boxes in detections], [to_text(boxes) for boxes in wanted]
    for metric in ("mAP50", "mAP50-95"):
        mine = detection.measure(metric, answers, labels)
        assert mine == interval(detections, wanted, metric, bootstrap.RESAMPLES)
    f1 = detection.measure("F1", answers, labels)
    assert 0 < f1.low < f1.value < f1.high < 1
    apart = detection.difference("F1", labels, answers, labels)
    assert apart.value == pytest.approx(1 - f1.value)
    assert apart.low > 0
