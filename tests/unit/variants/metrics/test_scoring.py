import pytest

from variants.metrics import scoring


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
        (" n", "negative", False),
        ("1", "12", False),
        ("Paris.", "Paris", True),
        ('"Paris"', "Paris", True),
        ("Paris is", "Paris", False),
        (" Sci", "Sci/Tech", True),
        (" Sports", "Sci/Tech", False),
        ("New", "New York", True),
        ("\uff11", "1", True),
        ("-1", "1", False),
        ("12", "123", False),
        ("-1", "-12", False),
        ("a t", "a thing", True),
        (".", ".", True),
        (".", "!", False),
        ("a", ".", False),
    ],
)
def test_a_text_answer_names_its_label_by_words_or_a_part_of_the_first(answer: str, label: str, right: bool) -> None:
    assert scoring.text_matches(answer, label) is right


def test_images_need_the_exact_label() -> None:
    assert scoring.is_correct("image", "7", "7")
    assert not scoring.is_correct("image", "", "7")
    assert not scoring.is_correct("image", "1", "17")


def test_an_unknown_kind_has_no_scorer() -> None:
    with pytest.raises(ValueError, match="text, image, article, ranked, triplet, choice, drawing or boxes"):
        scoring.is_correct("audio", "a", "a")


def test_macro_f1_counts_each_class_alike() -> None:
    labels = ["a"] * 8 + ["b"] * 2
    assert scoring.macro_f1(labels, labels) == 1
    # Never "b": F1 of a is 2*8/(10+8), of b 0.
    assert scoring.macro_f1(["a"] * 10, labels) == pytest.approx(8 / 9 / 2)
    # An answer that is no class of the labels costs the class it should have been, and is no class of its own.
    assert scoring.macro_f1(["a"] * 8 + ["b", "c"], labels) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(("answers", "labels"), [([], []), (["a"], ["a", "b"])])
def test_macro_f1_of_nothing_or_of_other_lengths_is_refused(answers: list[str], labels: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"{len(answers)} answers for {len(labels)} labels"):
        scoring.macro_f1(answers, labels)


def test_articles_need_the_exact_label() -> None:
    assert scoring.is_correct("article", "acq", "acq")
    assert not scoring.is_correct("article", "ac", "acq")


def test_the_nearer_of_two_is_told_by_the_angle_and_not_by_the_length() -> None:
    assert scoring.nearer([[1, 0], [9, 1], [1, 9]]) == "first"
    assert scoring.nearer([[1, 0], [50, 50], [0.1, 0.05]]) == "second"
    assert scoring.is_correct("triplet", "first", "first")
    assert not scoring.is_correct("triplet", "second", "first")


@pytest.mark.parametrize(
    "alike", [[[1, 2], [1, 2], [1, 2]], [[0, 0], [1, 0], [0, 1]], [[1, 0], [float("nan"), 0], [1, 0]]]
)
def test_what_tells_nothing_apart_is_no_answer(alike: list[list[float]]) -> None:
    assert scoring.nearer(alike) == ""
    assert not scoring.is_correct("triplet", "", "first")


@pytest.mark.parametrize("other", [[[1, 0], [0, 1]], [[1, 0], [0, 1], [1]], []])
def test_what_is_no_triplet_is_refused(other: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="not three of one length"):
        scoring.nearer(other)


def test_embeddings_come_as_numbers_or_as_base64_of_float32() -> None:
    assert list(scoring.numbers_of([0.5, -2])) == [0.5, -2.0]
    assert list(scoring.numbers_of("AAAAPwAAAMA=")) == [0.5, -2.0]
    for damaged in ("AAAAPwAAAM", "AAAAPwAA", "no base64!"):
        with pytest.raises(ValueError, match=r"."):
            scoring.numbers_of(damaged)


def test_labels_that_share_a_first_token_are_refused_by_name() -> None:
    assert scoring.first_tokens([[5, 1], [7]], ["a b", "c"]) == [5, 7]
    with pytest.raises(ValueError, match="money market, money supply"):
        scoring.first_tokens([[5, 1], [7], [5, 2]], ["money market", "oil", "money supply"])


def test_ranked_is_among_the_first_labels() -> None:
    assert scoring.is_correct("ranked", "7\n1\n17", "1")
    assert not scoring.is_correct("ranked", "7\n17", "1")
    assert not scoring.is_correct("ranked", "", "1")
