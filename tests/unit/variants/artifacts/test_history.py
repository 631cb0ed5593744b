from datetime import UTC, datetime, timedelta

import pytest

from variants.artifacts.history import Binding, History, kept_back, line_of, rolled_back, target, trimmed
from variants.errors import InputError, UnknownName

START = datetime(2026, 1, 1, tzinfo=UTC)


def history(story: str) -> History:
    """`"a b a<"`: a was built, then b, then the name was rolled back to a. Key and digest are the letter's."""
    bindings = []
    for day, word in enumerate(story.split()):
        digest = word[0] * 64
        why = "rollback" if word.endswith("<") else "build"
        document = {"digest": digest, "key": digest, "bound": START + timedelta(day), "why": why}
        bindings.append(Binding.model_validate(document))
    return tuple(bindings)


def letters(bindings: History) -> str:
    return " ".join(binding.digest[0] + ("<" if binding.why == "rollback" else "") for binding in bindings)


@pytest.mark.parametrize(
    ("story", "line"),
    [
        ("a b c", "a b c"),
        ("a b c b<", "a b<"),
        ("a b c b< a<", "a<"),
        ("a b a< c", "a< c"),
        ("a b a< b<", "a< b<"),
        ("a b a", "a b a"),
        ("a b a b<", "a b<"),
        ("a b b c", "a b c"),
    ],
)
def test_undoing_goes_back_along_what_was_not_taken_back(story: str, line: str) -> None:
    assert letters(line_of(history(story))) == line


def test_the_build_before_is_the_default() -> None:
    assert target(history("a b c"), "m@v", None).digest[0] == "b"
    assert target(history("a b c b<"), "m@v", None).digest[0] == "a"
    assert target(history("a b a< c"), "m@v", None).digest[0] == "a"


@pytest.mark.parametrize("story", ["a", "a b a<"])
def test_there_may_be_nothing_to_go_back_to(story: str) -> None:
    with pytest.raises(InputError, match="m@v has no build before aaaaaaaa") as refused:
        target(history(story), "m@v", None)
    assert refused.value.field == "build"
    assert ("bbbbbbbb" in str(refused.value)) is ("b" in story)


def test_a_build_is_named_by_its_beginning() -> None:
    assert target(history("a b"), "m@v", "aaa").digest == "a" * 64
    with pytest.raises(UnknownName, match=r"no build of m@v begins with 'abc' .*aaaaaaaa, bbbbbbbb"):
        target(history("a b"), "m@v", "abc")
    with pytest.raises(UnknownName, match="begins with ''"):
        target(history("a b"), "m@v", "")
    with pytest.raises(InputError, match="m@v stands for bbbbbbbb already"):
        target(history("a b"), "m@v", "b")
    twins = history("a b")
    twins = (twins[0].model_copy(update={"digest": "bc" + "0" * 62}), *twins)
    with pytest.raises(InputError, match=f"2 builds of m@v begin with 'b' .*bc{'0' * 62}, {'b' * 64}"):
        target(twins, "m@v", "b")


@pytest.mark.parametrize(
    ("story", "key", "kept"),
    [
        ("a b a<", "b", True),
        ("a b a<", "a", False),
        ("a b a<", "c", False),
        ("a b c b<", "a", True),
        ("a b a< c", "b", False),
        ("a b a< b<", "a", False),
        ("a b", "a", False),
    ],
)
def test_a_rollback_holds_the_name_against_what_it_knew(story: str, key: str, kept: bool) -> None:
    binding = kept_back(history(story), key * 64)
    assert binding == (history(story)[-1] if kept else None)


@pytest.mark.parametrize(
    ("story", "keep", "left"),
    [
        ("a b c", 0, "c"),
        ("a b c", 1, "b c"),
        ("a b c", 9, "a b c"),
        ("a b a c", 1, "a a c"),
        ("a b c b<", 0, "b c b<"),
        ("a b c b<", 1, "a b c b<"),
        ("a b a< c", 1, "a a< c"),
        ("a b c a< d", 0, "d"),
    ],
)
def test_trimming_neither_takes_a_rollback_away_nor_undoes_one(story: str, keep: int, left: str) -> None:
    shorter = trimmed(history(story), keep)
    assert letters(shorter) == left
    assert rolled_back(shorter) is rolled_back(history(story))
    assert letters(line_of(shorter)) == letters(line_of(history(story))[-(keep + 1) :])


def test_a_binding_from_before_rollbacks_was_built() -> None:
    document = f'{{"digest": "{"a" * 64}", "key": "{"a" * 64}", "bound": "2026-01-01T00:00:00Z"}}'
    assert Binding.from_json(document, "test").why == "build"
