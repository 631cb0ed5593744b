"""What a stack file may say of the server's address, and which servers are open to every client."""

from typing import Any

import pytest

from serve.config.loader import parse
from serve.config.server.api_keys import Key
from serve.config.server.exposure import check_beyond_loopback, check_removal
from serve.config.server.settings import Server
from serve.control.diff import server_differences
from tests.support.scripted import make_stack
from variants.errors import StackError

KEYS = {"ops": Key(sha256="0" * 64)}


def parsed(**server: Any) -> Server:
    document = make_stack().model_dump(mode="json", by_alias=True)
    document["server"] |= server
    return parse(document).server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "models.lan", "127.0.0.1.evil.example"])  # noqa: S104
def test_beyond_loopback_a_server_without_keys_is_refused(host: str) -> None:
    with pytest.raises(StackError, match=r"server\.keys: .*--insecure-open"):
        check_beyond_loopback(host, {}, insecure_open=False)
    check_beyond_loopback(host, {}, insecure_open=True)
    check_beyond_loopback(host, KEYS, insecure_open=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_on_loopback_no_keys_are_needed(host: str) -> None:
    check_beyond_loopback(host, {}, insecure_open=False)


def test_the_last_keys_are_removed_only_in_so_many_words() -> None:
    with pytest.raises(StackError, match=r"server\.keys: .*--insecure-open"):
        check_removal(KEYS, {}, insecure_open=False)
    check_removal(KEYS, {}, insecure_open=True)
    check_removal({}, {}, insecure_open=False)
    check_removal(KEYS, {"other": KEYS["ops"]}, insecure_open=False)


@pytest.mark.parametrize(
    "host",
    ["", " ", "-h", "--host", "a b", "a\nb", "127.0.0.1\n", "http://a", "a:8000", "[::1]", "a..b", "fe80::1%e0", "*"],
)
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    with pytest.raises(StackError, match=r"server\.host"):
        parsed(host=host)
    with pytest.raises(StackError, match=r"server\.hosts\[0\]"):
        parsed(hosts=[host])


def test_hosts_are_compared_in_lower_case() -> None:
    assert parsed(host="LOCALHOST", hosts=["Models.LAN", "::1"]).hosts == ("models.lan", "::1")


def test_keys_that_are_left_out_differ_from_no_keys() -> None:
    assert parsed().keys is None
    assert parsed(keys={}).keys == {}


def test_a_change_of_keys_is_reported_by_name() -> None:
    other = Key(sha256="1" * 64)
    before, after = Server(keys={"a": other, "ops": KEYS["ops"]}), Server(keys={"ops": other, "b": KEYS["ops"]})
    assert server_differences(before, after) == {
        "keys_added": ["b"], "keys_removed": ["a"], "keys_changed": ["ops"], "open": False
    }  # fmt: skip
    assert server_differences(before, Server(keys={}))["open"] is True
