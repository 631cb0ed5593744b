"""Answers side by side, and the same request as a command and as Python."""

import ast
import json
import shlex

from serve.console.api_client import Reply
from serve.console.try_it import answers_of, copies, marked


def reply(text: str, tokens: int = 10) -> Reply:
    choice = {"message": {"content": text}}
    return Reply(200, {"choices": [choice], "usage": {"completion_tokens": tokens}})


def test_words_that_the_first_answer_lacks_are_marked() -> None:
    assert marked(["a", "blue", "sky"], ["a", "grey", "sky"]) == [("a", False), ("blue", True), ("sky", False)]


def test_a_variant_that_fails_is_told_and_the_others_compare_with_the_first_that_answered() -> None:
    down = Reply(503, {"error": {"message": "not ready"}})
    answers = answers_of(["a", "b", "c"], [(down, 0.1), (reply("one two"), 2.0), (reply("one three"), 0.5)])
    assert answers[0].problem == "not ready"
    assert answers[1].words == [("one two", False)]
    assert answers[2].words == [("one", False), ("three", True)]
    assert answers[1].figures == "2.00 s, 10 tokens, 5.00 tokens/s"


def test_copies_hold_any_prompt() -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": 'it\'s "$HOME" `x`\n'}]}
    for has_keys in (False, True):
        made = copies("http://127.0.0.1:8000", body, has_keys)
        words = shlex.split(made["curl"])
        assert json.loads(words[-1]) == body
        assert ("$UNDERSTUDY_KEY" in made["curl"]) is has_keys
        ast.parse(made["Python"])
