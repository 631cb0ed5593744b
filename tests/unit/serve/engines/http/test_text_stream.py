"""Stop strings never show, in part or whole, however the text is cut into tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engines.http.text_stream import TextStream


class Words:
    """A decoder over pieces that are given beforehand."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def step(self, token: int) -> str:
        return self.pieces[token]


def shown(pieces: list[str], stops: tuple[str, ...]) -> tuple[list[str], bool]:
    stream = TextStream(Words(pieces), stops)
    out = []
    for token in range(len(pieces)):
        out.append(stream.push(token))
        if stream.stopped:
            break
    return [*out, stream.finish()], stream.stopped


def test_text_that_may_become_a_stop_string_is_held_back_and_then_shown() -> None:
    assert shown(["Hello #", "# no", "pe"], ("###",)) == (["Hello ", "## no", "pe", ""], False)


def test_a_stop_string_over_three_tokens_ends_the_text_before_it() -> None:
    assert shown(["ab#", "#", "#cd"], ("###",)) == (["ab", "", "", ""], True)


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert shown(["one two three"], ("three", "two")) == (["one ", ""], True)


def test_what_is_held_at_the_end_is_shown() -> None:
    assert shown(["a##"], ("###",)) == (["a", "##"], False)


@given(
    st.text(alphabet="ab#", max_size=30), st.lists(st.integers(1, 4), min_size=1), st.sampled_from(["##", "a#b", "b"])
)
def test_any_cut_shows_the_text_before_the_stop_string(text: str, cuts: list[int], stop: str) -> None:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    out, stopped = shown(pieces, (stop,))
    assert "".join(out) == text.split(stop)[0]
    assert stopped == (stop in text)


@pytest.mark.parametrize("stops", [(), ("never",)])
def test_without_a_stop_string_all_is_shown(stops: tuple[str, ...]) -> None:
    out, stopped = shown(["ne", "ver", " mind"] if not stops else ["ne", "v", "e"], stops)
    assert "".join(out) == ("never mind" if not stops else "neve")
    assert not stopped
