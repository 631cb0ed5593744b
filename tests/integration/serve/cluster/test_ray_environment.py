"""No process of a server listens beyond loopback, by the kernel's own tables."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

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


STRANGER = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=20))
"""


def test_ray_answers_only_to_who_has_the_token_of_the_run(served: Served) -> None:
    root = psutil.Process(served.pid)
    (gcs,) = [each for each in root.children(recursive=True) if each.name() == "gcs_server"]
    (address,) = {each.laddr for each in gcs.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    own = {name: value for name, value in gcs.environ().items() if name.startswith("RAY_AUTH")}
    token = Path(own["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0
    assert token.read_text() not in " ".join(gcs.cmdline())
    for mode, known in (("disabled", False), ("token", True)):
        environment = os.environ | own | {"RAY_AUTH_MODE": mode}
        command = [sys.executable, "-c", STRANGER, f"127.0.0.1:{address.port}"]
        asked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert (asked.returncode == 0) == known, asked.stderr
        assert ("uthenti" in asked.stderr) != known, asked.stderr
