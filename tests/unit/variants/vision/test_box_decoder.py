"""Predictions worked out by hand, in both forms, become boxes in the pixels of the image that was sent."""

import numpy as np
import pytest

from variants.vision.box_decoder import boxes_of, surest
from variants.vision.boxes import Box
from variants.vision.detector import Detector

YOLOX = Detector(decoder="yolox", size=(64, 96), strides=(16, 32), least=0.1, overlap=0.5, most=5)
CENTER = Detector(decoder="centernet", size=(64, 96), strides=(16,), least=0.1, overlap=0.5, most=5)
QUERIES = {"size": (64, 96), "least": 0.1, "overlap": 1.0, "most": 5}
DETR = Detector(decoder="detr", **QUERIES)
FOCAL = Detector(decoder="detr-focal", **QUERIES)
LABELS = ("cat", "dog")


def test_yolox_has_all_places_of_a_stride_before_the_next() -> None:
    assert YOLOX.places == 4 * 6 + 2 * 3
    values = np.zeros((1, YOLOX.places, 7), np.float32)
    # Row 2, column 3 of stride 16: middle (3.5, 2.25) strides, 2 by 1 strides large.
    values[0, 2 * 6 + 3] = [0.5, 0.25, np.log(2), 0, 0.9, 0.1, 0.8]
    # Row 1, column 0 of stride 32: middle (0.5, 1.5) strides, one stride large.
    values[0, 24 + 3] = [0.5, 0.5, 0, 0, 0.5, 0.6, 0.0]
    boxes = boxes_of(values, YOLOX, LABELS, (0.5, 0.5), (192, 128))
    assert [box.label for box in boxes] == ["dog", "cat"]
    assert [box.score for box in boxes] == pytest.approx([0.72, 0.3])
    assert boxes[0][1:5] == pytest.approx((40 * 2, 28 * 2, 72 * 2, 44 * 2))
    assert boxes[1][1:5] == pytest.approx((0, 32 * 2, 32 * 2, 64 * 2))


def test_centernet_reaches_out_from_the_middle_of_a_place() -> None:
    values = np.full((1, 6, 4, 6), -9, np.float32)
    values[0, 1, 2, 3] = 0  # a half
    values[0, 2:, 2, 3] = np.log(np.expm1([1.0, 0.5, 2.0, 0.25]))  # softplus undone
    boxes = boxes_of(values, CENTER, LABELS, (1, 1), (96, 64))
    assert [(box.label, box.score) for box in boxes] == [("dog", pytest.approx(0.5))]
    assert boxes[0][1:5] == pytest.approx((56 - 16, 40 - 8, 56 + 32, 40 + 4), abs=1e-4)


def test_a_query_of_detr_is_one_class_or_nothing() -> None:
    values = np.array([[[0.5, 0.25, 0.5, 0.25, 0, 2, 1], [0.5, 0.5, 1, 1, 0, 0, 9]]], np.float32)
    (box,) = boxes_of(values, DETR, LABELS, (2, 4), (48, 16))
    assert box.label == "dog"
    assert box.score == pytest.approx(np.exp(2) / (1 + np.exp(2) + np.exp(1)))
    # Of 96 x 64: 24 to 72 across, 8 to 24 down.
    assert box[1:5] == pytest.approx((12, 2, 36, 6))


def test_a_query_of_detr_focal_may_be_several_classes_and_the_surest_answers_are_as_many_as_queries() -> None:
    values = np.array([[[0.5, 0.5, 0.5, 0.5, 2, 3], [0.25, 0.5, 0.5, 1, 1, -9]]], np.float32)
    boxes = boxes_of(values, FOCAL, LABELS, (1, 1), (96, 64))
    assert [box.label for box in boxes] == ["dog", "cat"]
    assert [box.score for box in boxes] == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))])
    assert boxes[0][1:5] == boxes[1][1:5] == pytest.approx((24, 16, 72, 48))


def test_boxes_end_where_the_image_does() -> None:
    values = np.full((1, 6, 4, 6), -9, np.float32)
    values[0, 0, 0, 0], values[0, 2:, 0, 0] = 5, 30
    (box,) = boxes_of(values, CENTER, LABELS, (2, 2), (40, 20))
    assert box[1:5] == (0, 0, 40, 20)
    assert boxes_of(np.full((1, 6, 4, 6), -9, np.float32), CENTER, LABELS, (2, 2), (40, 20)) == []


def test_of_doubles_the_surest_stays_and_other_classes_are_no_doubles() -> None:
    corners = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [30, 0, 40, 10], [0, 0, 0, 0]], np.float32)
    scores = np.array([0.6, 0.9, 0.8, 0.7, 0.5], np.float32)
    assert surest(corners, scores, np.array([0, 0, 1, 0, 0]), 0.5, 9).tolist() == [1, 2, 3, 4]
    # 9 of 11 columns are shared: 0.818 is no double where more than that is asked for.
    assert surest(corners, scores, np.array([0, 0, 1, 0, 0]), 0.85, 9).tolist() == [1, 2, 3, 0, 4]
    assert surest(corners, scores, np.array([0, 0, 1, 0, 0]), 0.5, 2).tolist() == [1, 2]
    assert surest(corners, scores, np.array([0, 0, 0, 0, 0]), 1.0, 4).tolist() == [1, 2, 3, 0]


def test_no_more_than_the_most_and_noise_ends() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (1, 6, 4, 6)).astype(np.float32)
    boxes = boxes_of(noise, CENTER, LABELS, (1, 1), (96, 64))
    assert len(boxes) == CENTER.most
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    assert all(isinstance(box, Box) and 0 <= box.score <= 1 for box in boxes)
    wild = np.full((1, YOLOX.places, 7), 100, np.float32)
    assert all(np.isfinite(box[1:]).all() for box in boxes_of(wild, YOLOX, LABELS, (1, 1), (96, 64)))
