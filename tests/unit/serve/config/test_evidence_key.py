"""Which evidence is about the same two served variants."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.config import evidence_key as module
from serve.config.evidence_key import evidence_key
from serve.config.snapshot import ServedVariant
from serve.config.stack import ScriptedEngine


def served(digest: str, **settings: Any) -> ServedVariant:
    engine = SimpleNamespace(settings=ScriptedEngine(kind="scripted", **settings))
    return cast(ServedVariant, SimpleNamespace(manifest=SimpleNamespace(digest=digest), engine=engine))


def test_the_key_names_both_builds() -> None:
    parent, variant, how = evidence_key(served("a"), served("b")).split(":")
    assert (parent, variant, len(how)) == ("a", "b", 12)


@pytest.mark.parametrize(
    ("parent", "variant"),
    [
        (served("a", first_token_s=1.0), served("b")),
        (served("a"), served("b", first_token_s=1.0)),
        (served("c"), served("b")),
    ],
)
def test_another_engine_or_build_begins_new_evidence(parent: ServedVariant, variant: ServedVariant) -> None:
    assert evidence_key(parent, variant) != evidence_key(served("a"), served("b"))
    assert evidence_key(parent, variant) == evidence_key(parent, variant)


def test_settings_belong_to_a_side() -> None:
    slow = {"first_token_s": 1.0}
    assert evidence_key(served("a", **slow), served("b")) != evidence_key(served("a"), served("b", **slow))


def test_another_version_begins_new_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    before = evidence_key(served("a"), served("b"))
    monkeypatch.setattr(module, "versions", lambda: {"vllm": "0"})
    module._hash.cache_clear()
    assert evidence_key(served("a"), served("b")) != before
    module._hash.cache_clear()
