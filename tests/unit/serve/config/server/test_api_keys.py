"""API keys: who owns a key, and what the stack file may declare."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from serve.config.loader import parse
from serve.config.server.api_keys import Key, name_of
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


def stack_with(keys: object) -> Mapping[str, Key]:
    document = make_stack().model_dump(mode="json", by_alias=True)
    document["server"]["keys"] = keys
    return parse(document).server.keys or {}


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


OTHER = hashlib.sha256(b"close sesame").hexdigest()


def test_the_boolean_of_schema_1_means_what_it_meant() -> None:
    assert stack_with({"a": {"sha256": DIGEST, "admin": True}})["a"].rights == ("infer", "label", "feedback", "admin")
    for former in ({"admin": False}, {}):
        assert stack_with({"a": {"sha256": DIGEST, **former}})["a"].rights == ("infer", "label", "feedback")


def test_a_key_has_one_hash_or_two_while_it_is_changed() -> None:
    for listed in (DIGEST, [DIGEST], [OTHER, DIGEST]):
        assert name_of("Bearer open sesame", stack_with({"a": {"sha256": listed}})) == "a"
    assert name_of("Bearer close sesame", stack_with({"a": {"sha256": [DIGEST, OTHER]}})) == "a"
    with pytest.raises(StackError, match=r"server\.keys: two names have the same key"):
        stack_with({"a": {"sha256": [DIGEST, OTHER]}, "b": {"sha256": OTHER}})


def test_what_is_written_is_read_again() -> None:
    keys = {"a": {"sha256": [DIGEST], "rights": ["infer"], "limits": {"concurrency": 2}, "expires": "2030-01-31"}}
    read = stack_with(keys)
    assert read["a"].expires == date(2030, 1, 31)
    assert stack_with({"a": read["a"].model_dump(mode="json", exclude_none=True)}) == read


def test_a_key_is_accepted_on_its_last_day() -> None:
    today = datetime.now(UTC).date()
    for days, expired in ((-1, True), (0, False), (1, False)):
        assert Key(sha256=DIGEST, expires=today + timedelta(days=days)).has_expired() == expired
    assert not Key(sha256=DIGEST).has_expired()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rights": []}, "rights"),
        ({"rights": ["root"]}, r"rights\[0\]"),
        ({"rights": ["infer", "infer"]}, "rights"),
        ({"rights": "admin"}, "rights"),
        ({"rights": ["infer"], "admin": True}, "a"),
        ({"admin": "yes"}, "a"),
        ({"sha256": []}, "sha256"),
        ({"sha256": [DIGEST, DIGEST]}, "sha256"),
        ({"sha256": [DIGEST, OTHER, "0" * 64]}, "sha256"),
        ({"sha256": 7}, "sha256"),
        ({"expires": 20300131}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"expires": "2030-02-30"}, "expires"),
        ({"expires": "2030-01-31T12:00:00"}, "expires"),
        ({"expires": "1893456000"}, "expires"),
        ({"expires": True}, "expires"),
        ({"limits": {"requests_per_minute": 0}}, r"limits\.requests_per_minute"),
        ({"limits": {"tokens_per_minute": True}}, r"limits\.tokens_per_minute"),
        ({"limits": {"concurrency": 1.5}}, r"limits\.concurrency"),
        ({"limits": {"requests": 1}}, r"limits\.requests"),
    ],
)
def test_wrong_settings_of_a_key_are_refused_by_name(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(StackError, match=rf"server\.keys\.(a\.)?{field}") as refused:
        stack_with({"a": {"sha256": DIGEST, **wrong}})
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "trusted"),
    [
        ({}, False),
        ({"rights": ["infer"]}, False),
        ({"rights": ["infer", "label"]}, True),
        ({"admin": True}, True),
        ({"admin": False}, False),
    ],
)
def test_a_key_is_trusted_to_label_where_the_stack_file_says_so(given: dict[str, Any], trusted: bool) -> None:
    """Also in a stack that was written and read again, as one that is applied or recorded."""
    key = stack_with({"a": {"sha256": DIGEST, **given}})["a"]
    again = stack_with({"a": key.model_dump(mode="json", by_alias=True, exclude_none=True)})["a"]
    assert (key.is_trusted_to_label, again.is_trusted_to_label) == (trusted, trusted)
    assert again.rights == key.rights
