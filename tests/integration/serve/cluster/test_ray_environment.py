"""No process of a server listens beyond loopback, by the kernel's own tables."""

import ipaddress

import psutil
import pytest

from tests.integration.conftest import Served

pytestmark = pytest.mark.integration


def listeners(pid: int) -> list[tuple[str, str, int]]:
    """(address, process, port) of every listening TCP socket and bound UDP socket of a process and its descendants."""
    root = psutil.Process(pid)
    sockets: list[tuple[str, str, int]] = []
    for process in [root, *root.children(recursive=True)]:
        for connection in process.net_connections("inet"):
            if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and not connection.raddr:
                sockets.append((connection.laddr.ip, process.name(), connection.laddr.port))
    return sockets


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def test_everything_listens_on_loopback(served: Served) -> None:
    sockets = listeners(served.pid)
    names = {name for _, name, _ in sockets}
    assert "haproxy" in names, names
    assert any("gcs" in name for name in names), names
    assert served.grpc_port in {port for *_, port in sockets}
    assert [each for each in sockets if not is_loopback(each[0])] == []
