"""Ports for our processes: free, and outside the kernel's range for outgoing connections."""

import socket
from pathlib import Path

import pytest

from serve import ports
from variants.errors import EngineError


def test_a_port_is_free_and_no_outgoing_connection_gets_it() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = ports.free_port()
    assert port < first
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        port = ports.free_port()
        taken.bind(("127.0.0.1", port))
        monkeypatch.setattr(ports, "PORTS", range(port, port + 1))
        with pytest.raises(EngineError, match=f"no loopback port from {port} to {port} is free"):
            ports.free_port()
