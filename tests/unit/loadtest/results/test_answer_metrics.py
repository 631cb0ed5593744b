"""A detector and pairs of texts in a campaign: what is asked, how the answer is read, and what records say."""

import base64
import json
from typing import Any

import pytest

from loadtest.campaign.plan import Content, Pool
from loadtest.results.answer_metrics import MAP50, accuracies, differences, of_scorers
from loadtest.results.records import Record
from loadtest.results.schema import Comparison
from loadtest.results.sentences import says
from loadtest.worker.requests import load_request
from serve.protocols.open_inference import parse_request
from variants.errors import IntegrityError
from variants.metrics.spearman import SPEARMAN
from variants.tasks.responses import BadAnswer, read_answer
from variants.vision.boxes import Box, from_text, to_text

ONE, OTHER = Box("7", 0.0, 0.0, 20.0, 20.0), Box("3", 40.0, 40.0, 60.0, 60.0)


def record(number: int, boxes: list[Box], variant: str = "int8", **facts: Any) -> Record:
    """An image with `ONE` and `OTHER` on it."""
    common = {"part": "accuracy", "model": "scenes", "task": "scenes", "started": 0.0, "latency_s": 0.1, "status": 200}
    answered = {"example": f"scene-{number}", "answer": to_text(boxes), "label": to_text([ONE, OTHER])}
    return Record(**{**common, **answered, "variant_asked": variant, **facts})


def test_all_that_makes_boxes_is_asked_for() -> None:
    content = Content(example="1", png=base64.b64encode(b"png").decode(), label=to_text([ONE]))
    pool = Pool(kind="boxes", model="scenes", task="scenes", contents=(content,))
    asked = load_request(pool, content, "int8", None)
    assert asked.path == "/v2/models/scenes/versions/int8/infer"
    assert asked.headers["x-understudy-label"] == to_text([ONE])
    request = parse_request(asked.body, asked.headers["Inference-Header-Content-Length"])
    assert [output.name for output in request.outputs] == ["boxes", "scores", "labels"]


def test_an_answer_is_read_to_boxes() -> None:
    outputs = [
        {"name": "boxes", "shape": [2, 4], "datatype": "FP32", "data": [0, 0, 20, 20, 40, 40.004, 60, 60]},
        {"name": "scores", "shape": [2], "datatype": "FP32", "data": [0.75, 0.5]},
        {"name": "labels", "shape": [2], "datatype": "BYTES", "data": ["7", "3"]},
    ]
    answer = read_answer("boxes", json.dumps({"outputs": outputs}).encode())
    assert from_text(answer.text) == [ONE._replace(score=0.75), OTHER._replace(score=0.5)]
    with pytest.raises(BadAnswer, match="another shape: KeyError: 'boxes'"):
        read_answer("boxes", json.dumps({"outputs": outputs[1:]}).encode())
    outputs[1]["data"] = [0.75]
    with pytest.raises(BadAnswer, match="another shape"):
        read_answer("boxes", json.dumps({"outputs": outputs}).encode())


def test_records_give_mean_average_precision() -> None:
    half = [record(number, [ONE]) for number in range(10)]
    unsure = record(10, [], part="mixed")
    failed = record(11, [ONE], error="gone")
    (figure,) = accuracies(MAP50, [*half, unsure, failed])
    assert (figure.task, figure.metric, figure.n) == ("scenes", "mAP50", 10)
    assert (figure.value, figure.low, figure.high) == (0.5, 0.5, 0.5), "all of one label, none of the other, everywhere"
    with pytest.raises(IntegrityError, match="asked twice"):
        list(accuracies(MAP50, [half[0], half[0]]))


def test_variants_are_compared_on_the_images_that_both_answered() -> None:
    mine = [record(number, [ONE, OTHER]) for number in range(12)]
    theirs = [record(number, [ONE], "baseline") for number in range(2, 14)]
    (figure,) = differences(MAP50, mine, theirs)
    assert (figure.metric, figure.n, figure.verdict) == ("mAP50", 10, "better")
    assert figure.difference == pytest.approx(0.5)
    (same,) = differences(MAP50, mine, mine)
    assert (same.difference, same.verdict) == (0, "cannot tell")
    assert list(differences(MAP50, mine, [record(99, [ONE])])) == []


def test_the_figure_of_f1_is_its_mean_and_not_the_share_of_whole_answers() -> None:
    facts: dict[str, Any] = {"task": "qa", "label": "a b", "correct": False, "scorer": "f1"}
    mine = [record(at, [], answer="a c", score=0.5 + 0.1 * (at % 2), **facts) for at in range(20)]
    theirs = [record(at, [], "baseline", answer="a c", score=0.2, **facts) for at in range(20)]
    (metric,) = of_scorers(mine)
    (figure,) = accuracies(metric, mine)
    assert (figure.metric, figure.unit, figure.n) == ("f1", "share", 20)
    assert figure.value == pytest.approx(0.55)
    (difference,) = differences(metric, mine, theirs)
    assert difference.difference == pytest.approx(0.35)
    assert difference.verdict == "better"


def pair(number: int, cosine: float, variant: str = "int8", **facts: Any) -> Record:
    """A pair whose score is its number."""
    common = {"part": "accuracy", "model": "near", "task": "sts", "started": 0.0, "latency_s": 0.1, "status": 200}
    answered = {"example": f"pair-{number}", "answer": str(cosine), "label": str(number)}
    return Record(**{**common, **answered, "variant_asked": variant, **facts})


def test_pairs_give_a_correlation_and_leave_triplets_out() -> None:
    mine = [pair(number, number / 20) for number in range(12)]
    theirs = [pair(number, -number / 20, "baseline") for number in range(12)]
    triplet = pair(99, 0.5, task="r8_triplets", answer="first", label="first", correct=True)
    (figure,) = accuracies(SPEARMAN, [*mine, triplet])
    assert (figure.task, figure.metric, figure.unit, figure.n) == ("sts", "spearman", "", 12)
    assert figure.value == pytest.approx(1)
    (difference,) = differences(SPEARMAN, mine, theirs)
    assert (difference.verdict, difference.difference) == ("better", pytest.approx(2))
    compared = Comparison(variant="int8", parent="baseline", bytes_ratio=0.5, speed=None, accuracy=(difference,))
    assert "better on sts by spearman, +2.00 (95 % +2.00 to +2.00, 12 examples)" in says("near", [], [compared])[0]


def test_a_pair_is_two_texts_and_its_score_is_not_sent() -> None:
    content = Content(example="1", texts=("a", "b"), label="2.5")
    asked = load_request(Pool(kind="pair", model="near", task="sts", contents=(content,)), content, "int8", None)
    assert asked.path == "/v1/embeddings"
    assert json.loads(asked.body)["input"] == ["a", "b"]
    assert "x-understudy-label" not in asked.headers
