"""What the command line makes of a server's answers, and of an address where none is."""

import getpass
import inspect
import os
import socket
import threading

import pytest

import serve.errors
import variants.errors
from serve.client.admin import ERRORS, ask, error_of, who
from serve.errors import ClientLeft
from variants.errors import EngineError, StoreFull, UnderstudyError


def test_every_error_of_a_server_is_raised_as_its_own_class() -> None:
    modules = (serve.errors, variants.errors)
    kinds = {kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)}
    ours = {kind for kind in kinds if issubclass(kind, UnderstudyError)} - {UnderstudyError, EngineError, ClientLeft}
    assert {kind.code: kind for kind in ours} == ERRORS
    assert error_of(500, b'{"error": {"code": "store_full", "message": "m"}}').exit_code == StoreFull.exit_code


@pytest.mark.parametrize("target", ["http://127.0.0.1:80x", "http://127.0.0.1:1"])
def test_an_address_without_a_server_is_one_line(target: str) -> None:
    with pytest.raises(EngineError, match="is the server up at that address"):
        ask(target, "GET", "/")


def test_a_server_without_http_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(1024)
                connection.sendall(b"220 mail\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(EngineError, match="is the server up at that address"):
            ask(f"http://127.0.0.1:{listening.getsockname()[1]}", "GET", "/")
        answering.join()


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert who() == str(os.getuid())
