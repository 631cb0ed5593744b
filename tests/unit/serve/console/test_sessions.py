"""A cookie is believed only if this server signed it, lately, for a key that is still valid."""

from pathlib import Path
from typing import Any

import pytest
from itsdangerous import URLSafeTimedSerializer

from serve.config.server.settings import Server
from serve.console.sessions import HOW, LIFETIME_S, Sessions, check_token
from serve.errors import Forbidden, Unauthorized
from tests.unit.serve.console.made import key


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    server = Server(keys={"ops": key("root")})
    return Sessions(lambda: server)


def test_what_was_written_is_read(sessions: Sessions) -> None:
    session = sessions.sign_in(" root ")
    assert session.key == "ops"
    assert sessions.read(sessions.written(session)) == session
    assert sessions.has_signed_in(session)
    nobody = sessions.new()
    assert sessions.read(sessions.written(nobody)) == nobody
    assert not sessions.has_signed_in(nobody)


def test_a_key_may_have_any_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    server = Server(keys={"ops": key("ключ")})
    sessions = Sessions(lambda: server)
    session = sessions.sign_in("ключ")
    assert sessions.read(sessions.written(session)) == session


@pytest.mark.parametrize("value", [None, "", "x", "a.b.c"])
def test_what_is_no_session_is_none(sessions: Sessions, value: str | None) -> None:
    assert sessions.read(value) is None


def test_another_secret_and_a_changed_name_are_refused(sessions: Sessions) -> None:
    session = sessions.sign_in("root")
    other = URLSafeTimedSerializer(b"another", "session", signer_kwargs=HOW)
    assert sessions.read(other.dumps([session.nonce, session.key, session.sha256])) is None
    forged = sessions.serializer.dumps([session.nonce, "ops", "0" * 64])
    assert sessions.read(forged) is None


def test_an_old_session_ends(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    import itsdangerous.timed

    written = sessions.written(sessions.sign_in("root"))
    now = itsdangerous.timed.time.time()
    monkeypatch.setattr(itsdangerous.timed.time, "time", lambda: now + LIFETIME_S + 2)
    assert sessions.read(written) is None


def test_without_keys_anybody_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    sessions = Sessions(Server)
    assert sessions.has_signed_in(sessions.new())


def test_a_wrong_key_is_refused(sessions: Sessions) -> None:
    for secret in ("", "guess", "ключ"):
        with pytest.raises(Unauthorized):
            sessions.sign_in(secret)


def test_a_token_is_of_one_session(sessions: Sessions) -> None:
    session, other = sessions.new(), sessions.new()
    check_token(session, session.token)
    wrong: Any
    for wrong in (other.token, "", "é"):
        with pytest.raises(Forbidden):
            check_token(session, wrong)
