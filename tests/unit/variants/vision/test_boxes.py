import pytest
from hypothesis import given
from hypothesis import strategies as st

from variants.metrics.scoring import is_correct
from variants.vision.boxes import Box, agreement, from_tensors, from_text, outcome, overlap, to_text

SIDE = st.integers(0, 40).map(float)
BOXES = st.lists(
    st.builds(
        lambda label, left, top, wide, high, score: Box(label, left, top, left + wide, top + high, score / 100),
        st.sampled_from("ab"), SIDE, SIDE, SIDE, SIDE, st.integers(0, 100),
    ),
    max_size=6,
)  # fmt: skip
ONE = Box("7", 10.0, 20.0, 30.0, 40.0)


def test_text_is_one_line_of_ascii_json() -> None:
    assert to_text([ONE, ONE._replace(label="é", score=0.5)]) == (
        '[{"label":"7","box":[10.0,20.0,30.0,40.0]},{"label":"\\u00e9","box":[10.0,20.0,30.0,40.0],"score":0.5}]'
    )
    assert to_text([]) == "[]"


@given(BOXES)
def test_text_and_back(boxes: list[Box]) -> None:
    assert from_text(to_text(boxes)) == boxes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("7", "not a list"),
        ("[", "not JSON"),
        ('[{"label": "7"}]', r"\[0\]: not"),
        ('[{"label": 7, "box": [0, 0, 1, 1]}]', r"\[0\].label: not text"),
        ('[{"label": "7", "box": [0, 0, 1]}]', r"\[0\].box: not four numbers"),
        ('[{"label": "7", "box": [0, 0, 1, true]}]', r"\[0\].box: not four numbers"),
        ('[{"label": "7", "box": [0, 0, 1, NaN]}]', r"\[0\].box: not four numbers"),
        ('[{"label": "7", "box": [2, 0, 1, 1]}]', r"\[0\].box: right of its right side"),
        ('[{"label": "7", "box": [0, 0, 1, 1], "score": 2}]', r"\[0\].score"),
        ('[{"label": "7", "box": [0, 0, 1, 1], "scores": 1}]', r"\[0\]: not"),
    ],
)
def test_what_is_no_list_of_boxes_says_where(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_text(text)


def test_overlap_of_boxes_worked_out_by_hand() -> None:
    assert overlap(ONE, ONE) == 1
    assert overlap(ONE, ONE._replace(left=20.0)) == 0.5
    assert overlap(ONE, Box("7", 30.0, 20.0, 50.0, 40.0)) == 0
    assert overlap(Box("a", 1.0, 1.0, 1.0, 1.0), Box("a", 1.0, 1.0, 1.0, 1.0)) == 0


def test_agreement_worked_out_by_hand() -> None:
    other = Box("3", 50.0, 50.0, 60.0, 60.0)
    assert agreement([], []) == 1
    assert agreement([ONE], []) == agreement([], [ONE]) == 0
    assert agreement([ONE], [ONE, other]) == pytest.approx(2 / 3)
    assert agreement([ONE._replace(label="1")], [ONE]) == 0, "another label is another thing"
    assert agreement([ONE._replace(left=20.0)], [ONE]) == 1, "an overlap of a half is enough"
    assert agreement([ONE._replace(left=20.1)], [ONE]) == 0
    assert agreement([ONE, ONE._replace(score=0.9)], [ONE]) == pytest.approx(2 / 3), "a double is one too many"
    assert agreement([ONE, other._replace(score=0.29)], [ONE]) == 1, "an unsure box is no answer"


@given(BOXES, BOXES)
def test_agreement_is_bounded_and_full_with_itself(one: list[Box], other: list[Box]) -> None:
    assert 0 <= agreement(one, other) <= 1
    with_area = [box for box in one if box.right > box.left and box.bottom > box.top]
    assert agreement(with_area, with_area) == 1


def test_a_request_is_right_when_all_boxes_are() -> None:
    label = to_text([ONE, ONE._replace(label="3")])
    assert is_correct("boxes", to_text([ONE._replace(score=0.4), ONE._replace(label="3", score=0.8)]), label)
    assert not is_correct("boxes", to_text([ONE]), label)
    assert outcome(to_text([ONE]), label) == pytest.approx(2 / 3)


def test_tensors_become_boxes_to_hundredths_of_a_pixel() -> None:
    boxes = from_tensors([[1.23456, 2.0, 3.0, 4.0]], [0.1234567], [b"7"])
    assert boxes == [Box("7", 1.23, 2.0, 3.0, 4.0, 0.12346)]
    with pytest.raises(ValueError, match="zip"):
        from_tensors([[1, 2, 3, 4]], [0.5, 0.5], ["7"])
