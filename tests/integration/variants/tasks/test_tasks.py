"""The real data behind the tasks: counts, splits, labels. Fetched once into the user's own cache."""

import io

import pytest
from PIL import Image

from variants import tasks
from variants.errors import UnknownName

pytestmark = pytest.mark.integration
SIZES = {
    "mnist": {"train": 4000, "calibration": 300, "test": 1000},
    "r8": {"train": 4884, "calibration": 512, "test": 2172},
    "r8_topics": {"train": 4884, "calibration": 512, "test": 2172},
    "r8_triplets": {"train": 4884, "calibration": 512, "test": 2172},
    "rotten_tomatoes": {"train": 10240, "calibration": 512, "test": 2000},
    "tale_endings": {"train": 1005, "calibration": 1176, "test": 204},
    "tales": {"train": 113, "calibration": 136, "test": 50},
}


ELSEWHERE = {"coco96", "digit_prompts", "imagenet", "imagenet_top5", "mnist_top5", "picture_prompts", "scenes"}
"""Composed, drawn, or read from a folder of the user's: each has tests of its own."""


def test_every_task_is_tested() -> None:
    assert set(tasks.NAMES) == SIZES.keys() | ELSEWHERE


@pytest.mark.parametrize("name", SIZES)
def test_splits_have_their_sizes_and_the_test_shares_nothing(name: str) -> None:
    task = tasks.get(name)
    splits = {split: task.examples(split) for split in ("train", "calibration", "test")}
    assert {split: len(examples) for split, examples in splits.items()} == SIZES[name]
    seen = [*splits["train"], *splits["calibration"]]
    assert not {example.input for example in splits["test"]} & {example.input for example in seen}
    assert not {example.id for example in splits["test"]} & {example.id for example in seen}
    for examples in splits.values():
        assert {example.label for example in examples} == set(task.labels)


def test_the_order_never_changes() -> None:
    """Figures of different days compare only if the first n are the same n."""
    first = {name: tasks.get(name).examples("test", 1)[0].id for name in SIZES}
    assert first == {
        "mnist": "mnist-2461",
        "r8": "r8-test-01775",
        "r8_topics": "r8-test-01775-topic",
        "r8_triplets": "r8-test-01775-triplet",
        "rotten_tomatoes": "rotten_tomatoes-13245",
        "tale_endings": "grimm-22-053",
        "tales": "grimm-19-013",
    }


def test_prompts_are_whole_and_short() -> None:
    for name, ending in (("rotten_tomatoes", "\nSentiment:"), ("r8", "\n\nThis news story is about")):
        for example in tasks.get(name).examples("test", 200):
            assert isinstance(example.input, str)
            assert example.input.endswith(ending)
            assert len(example.input.split()) < 70


def test_triplets_are_of_r8s_own_split_and_their_label_is_the_one_of_the_anchors_topic() -> None:
    stories: dict[str, set[str]] = {}
    for example in tasks.get("r8").examples("test"):
        assert isinstance(example.input, str)
        text = " ".join(example.input.removesuffix("\n\nThis news story is about").split()[:24])
        stories.setdefault(text, set()).add(example.label)
    triplets = tasks.get("r8_triplets").examples("test")
    for example in triplets:
        anchor, first, second = (stories[text] for text in example.input)
        assert anchor & (first if example.label == "first" else second)
    firsts = sum(example.label == "first" for example in triplets)
    assert abs(firsts / len(triplets) - 0.5) < 0.05


def test_a_tale_is_in_one_split_and_keeps_its_punctuation() -> None:
    tales = {split: tasks.get("tales").examples(split) for split in ("train", "calibration", "test")}
    told = {split: {example.id[:8] for example in examples} for split, examples in tales.items()}
    assert not told["test"] & (told["train"] | told["calibration"])
    assert not told["train"] & told["calibration"]
    assert told["test"] == {example.id[:8] for example in tasks.get("tale_endings").examples("test")}
    for split, words in (("test", 128), ("calibration", 256)):
        for example in tales[split]:
            assert isinstance(example.input, str)
            assert len(example.input.split()) == words
            assert "." in example.input
            assert example.input != example.input.lower()


def test_the_right_ending_is_the_pieces_own() -> None:
    whole = " ".join(str(example.input) for example in tasks.get("tales").examples("test"))
    examples = tasks.get("tale_endings").examples("test")
    for example in examples:
        assert isinstance(example.input, tuple)
        context, *endings = example.input
        assert [len(str(part).split()) for part in (context, *endings)] == [24, 8, 8]
        assert len(set(endings)) == 2
    own = [example for example in examples if f"{example.input[0]}{example.input[1 + int(example.label)]}" in whole]
    wrong = [example for example in examples if f"{example.input[0]}{example.input[2 - int(example.label)]}" in whole]
    assert len(own) > 0.7 * len(examples)
    assert wrong == []


def test_digits_are_grey_pngs() -> None:
    example = tasks.get("mnist").examples("test", 1)[0]
    assert isinstance(example.input, bytes)
    image = Image.open(io.BytesIO(example.input))
    assert (image.format, image.size, image.mode) == ("PNG", (28, 28), "L")


def test_an_unknown_task_says_which_there_are() -> None:
    with pytest.raises(UnknownName, match=r"one of .*mnist, .*r8, r8_topics, r8_triplets, rotten_tomatoes"):
        tasks.get("imdb")


def test_topics_are_r8s_stories_without_the_question_under_their_own_names() -> None:
    asked, plain = tasks.get("r8").examples("test", 50), tasks.get("r8_topics").examples("test", 50)
    assert tasks.get("r8_topics").labels == ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")
    for with_question, example in zip(asked, plain, strict=True):
        assert isinstance(example.input, str)
        assert with_question.input == f"{example.input}\n\nThis news story is about"
        assert (with_question.label == " earnings") == (example.label == "earn")
