"""A person says which answer is better and does not learn whose it is."""

import io
import random
from typing import Any

import pytest

from serve.cli.label import KEYS, keys_of, label_pairs, variant_is_left


class Client:
    """A server with pairs; of the first `late` no opinion counts."""

    def __init__(self, count: int, late: int = 0) -> None:
        self.kept = [
            {
                "id": f"{number:016x}", "outcome": None, "prompt": f"prompt {number}",
                "answers": {"variant": f"theirs {number}", "parent": f"ours {number}"},
            }
            for number in range(count)
        ]  # fmt: skip
        self.late, self.said = late, list[dict[str, Any]]()

    def pairs(self, model: str, variant: str, limit: int) -> dict[str, Any]:
        return {"model": model, "pairs": self.kept[:limit]}

    def give_opinion(self, opinion: dict[str, Any]) -> dict[str, Any]:
        self.said.append(opinion)
        pair = next(each for each in self.kept if each["id"] == opinion["request_id"])
        pair["outcome"] = opinion["outcome"]
        return {"counted": True} if len(self.said) > self.late else {"counted": False, "why": "it is over"}


def label(client: Any, monkeypatch: pytest.MonkeyPatch, *lines: str) -> dict[str, Any]:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return vars(label_pairs(client, "echo", "int8", 100))


def test_what_is_said_of_left_and_right_is_sent_of_the_variant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(40)
    choices = [random.Random(number).choice(["left", "right", "tie"]) for number in range(40)]
    assert label(client, monkeypatch, *choices) == {"counted": 40, "skipped": 0, "uncounted": {}}
    pages = capsys.readouterr().err.split("--- left ---")[1:]
    sides = []
    for page, choice, said in zip(pages, choices, client.said, strict=True):
        left = "variant" if "theirs" in page.split("--- right ---")[0] else "parent"
        better = {"left": left, "right": "parent" if left == "variant" else "variant", "tie": "tie"}[choice]
        assert said["outcome"] == {"variant": 1, "parent": -1, "tie": 0}[better]
        assert said["variant"] == "int8"
        sides.append(left)
    assert 10 < sides.count("variant") < 30


def test_it_hides_names_and_shows_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    label(Client(2), monkeypatch, "q")
    shown = capsys.readouterr().err
    assert "1 of 2" in shown
    assert not [name for name in ("int8", "baseline", "parent", "variant") if name in shown]


def test_it_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(4, late=1)
    assert label(client, monkeypatch, "tie", "nonsense", "", "s", "quit") == {
        "counted": 0, "skipped": 1, "uncounted": {"it is over": 1},
    }  # fmt: skip
    assert label(client, monkeypatch, "l", "l", "l", "l") == {"counted": 3, "skipped": 0, "uncounted": {}}
    assert len(client.said) == 4


def test_the_end_of_the_input_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert label(Client(3), monkeypatch, "t") == {"counted": 1, "skipped": 0, "uncounted": {}}


def test_an_answer_does_not_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(1)
    client.kept[0]["answers"]["variant"] = "a\x1b[2Jb\nc"
    label(client, monkeypatch, "q")
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "b\nc" in shown


def test_a_terminal_gives_single_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["\x1b[D", "\x1b[C", "x", "t", "S", "q"])
    monkeypatch.setattr("click.getchar", lambda: next(typed))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    choices = keys_of(terminal)
    assert [next(choices) for _ in range(5)] == ["left", "right", "tie", "skip", "quit"]
    assert set(KEYS.values()) == {"left", "right", "tie", "skip", "quit"}


def test_the_coin_is_the_same_each_time() -> None:
    assert [variant_is_left(str(n)) for n in range(20)] == [variant_is_left(str(n)) for n in range(20)]
