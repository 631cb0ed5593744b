"""Nothing that a server starts listens beyond loopback: read from the kernel's own tables."""

import ipaddress

import psutil
import pytest

from tests.integration.conftest import Served

pytestmark = pytest.mark.integration


def listeners(pid: int) -> list[tuple[str, str]]:
    """(address, process) of every listening TCP socket and bound UDP socket of a process and all below it."""
    root = psutil.Process(pid)
    found: list[tuple[str, str]] = []
    for process in [root, *root.children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and not connection.raddr:
                found.append((connection.laddr.ip, process.name()))
    return found


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def test_everything_listens_on_loopback(served: Served) -> None:
    found = listeners(served.pid)
    names = {name for _, name in found}
    assert "haproxy" in names, names
    assert any("gcs" in name for name in names), names
    assert [pair for pair in found if not is_loopback(pair[0])] == []
