"""Ports for our processes: free, and outside the kernel's range for outgoing connections."""

import socket
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from serve import ports
from tests.support.processes import ROOT
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


def test_a_port_that_another_process_was_given_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from serve.ports import free_port; print(free_port(), flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        monkeypatch.setattr(ports, "PORTS", range(port, port + 1))
        with pytest.raises(EngineError, match="no loopback port"):
            ports.free_port()
        other.communicate("\n", timeout=30)
    assert ports.free_port() == port


def test_claims_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CLAIMS", deque())
    monkeypatch.setattr(ports, "MOST_CLAIMS", 2)
    assert len({ports.free_port() for _ in range(5)}) == 5
    assert len(ports.CLAIMS) == 2
