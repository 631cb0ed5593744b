"""API keys: who owns a key, and what the stack file may declare."""

import hashlib

import pytest

from serve.config.api_keys import Key, name_of
from serve.config.loader import parse
from serve.errors import Unauthorized
from tests.support.scripted import make_stack
from variants.errors import StackError

DIGEST = hashlib.sha256(b"open sesame").hexdigest()
KEYS = {"ali": Key(sha256=DIGEST), "kasim": Key(sha256=hashlib.sha256(b"").hexdigest())}


@pytest.mark.parametrize("sent", ["Bearer open sesame", "bearer open sesame", "Bearer  open sesame "])
def test_a_key_is_recognised_by_its_digest(sent: str) -> None:
    assert name_of(sent, KEYS) == "ali"


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer ", "Basic open sesame", f"Bearer {DIGEST}", "Bearer \xff"]
)
def test_another_key_is_refused_and_not_repeated_in_the_message(sent: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        name_of(sent, {"ali": KEYS["ali"]})
    assert "sesame" not in str(refused.value)
    assert DIGEST not in str(refused.value)


def test_an_empty_key_is_refused_even_if_its_digest_is_listed() -> None:
    for sent in (None, "Bearer", "Bearer "):
        with pytest.raises(Unauthorized):
            name_of(sent, KEYS)


def stack_with(keys: object) -> None:
    document = make_stack().model_dump(mode="json", by_alias=True)
    document["server"]["keys"] = keys
    parse(document)


def test_the_stack_file_names_keys() -> None:
    stack_with({"ops": {"sha256": DIGEST, "admin": True, "shadow": False}})
    with pytest.raises(StackError, match=r"server\.keys: two names have the same key"):
        stack_with({"a": {"sha256": DIGEST}, "b": {"sha256": DIGEST}})
    with pytest.raises(StackError, match=r"unknown key 'shadows'.*did you mean"):
        stack_with({"a": {"sha256": DIGEST, "shadows": False}})


def test_a_key_that_was_not_hashed_is_not_shown() -> None:
    with pytest.raises(StackError, match=r"server\.keys\.a\.sha256") as refused:
        stack_with({"a": {"sha256": "open sesame"}})
    assert "sesame" not in str(refused.value)
