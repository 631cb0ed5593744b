import pytest

from variants import scoring


@pytest.mark.parametrize(
    ("answer", "label", "right"),
    [
        (" positive", " positive", True),
        (" pos", " positive", True),
        ("positive\n", " positive", True),
        (" negative", " positive", False),
        ("", " positive", False),
        ("  \n", " positive", False),
        (" positively", " positive", False),
        (" Positive", " positive", False),
    ],
)
def test_a_text_answer_names_its_label_by_its_beginning(answer: str, label: str, right: bool) -> None:
    assert scoring.text_matches(answer, label) is right


def test_images_need_the_exact_label() -> None:
    assert scoring.is_correct("image", "7", "7")
    assert not scoring.is_correct("image", "", "7")
    assert not scoring.is_correct("image", "1", "17")


def test_an_unknown_kind_has_no_scorer() -> None:
    with pytest.raises(ValueError, match="text or image"):
        scoring.is_correct("audio", "a", "a")


def test_the_first_of_equal_scores_wins() -> None:
    assert scoring.top_label([0.1, 0.4, 0.4, 0.1], ["a", "b", "c", "d"]) == "b"
    with pytest.raises(ValueError, match="2 scores for 1 labels"):
        scoring.top_label([0.5, 0.5], ["a"])


def test_labels_that_share_a_first_token_are_refused_by_name() -> None:
    assert scoring.first_tokens([[5, 1], [7]], ["a b", "c"]) == [5, 7]
    with pytest.raises(ValueError, match="money market, money supply"):
        scoring.first_tokens([[5, 1], [7], [5, 2]], ["money market", "oil", "money supply"])
