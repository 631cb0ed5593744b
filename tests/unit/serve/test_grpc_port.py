"""`server.grpc_port`: refused before anything starts where nothing can listen on it, and unchanged by `apply`."""

import socket
from pathlib import Path

import pytest

from serve.app import check_free
from serve.config.loader import parse
from serve.config.server.settings import Server
from serve.config.snapshot import build_snapshot
from serve.config.stack import Stack
from serve.control.proposal import Proposal, version_of
from serve.ports import free_port
from tests.support.scripted import make_artifacts, make_stack
from variants.errors import StackError


def with_grpc(port: object) -> Stack:
    document = make_stack().model_dump(mode="json", by_alias=True)
    return parse(document | {"server": {"grpc_port": port}})


@pytest.mark.parametrize("port", [0, 65_536, "8001", True])
def test_what_is_no_port_is_refused(port: object) -> None:
    with pytest.raises(StackError) as refused:
        with_grpc(port)
    assert refused.value.field == "server.grpc_port"


def test_a_taken_port_is_refused_by_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as refused:
            check_free(Server(port=free_port(), grpc_port=port))
    assert refused.value.field == "server.grpc_port"
    check_free(Server(port=free_port(), grpc_port=port))


def test_both_protocols_have_a_port_of_their_own() -> None:
    with pytest.raises(StackError, match=r"server\.grpc_port: 8000 is also server\.port"):
        check_free(Server(port=8000, grpc_port=8000))


def test_a_running_server_keeps_its_port(tmp_path: Path) -> None:
    stack = with_grpc(8001)
    snapshot = build_snapshot(stack, make_artifacts(tmp_path, stack))
    for other in (with_grpc(8002), make_stack()):
        with pytest.raises(StackError, match="only changes at a restart") as refused:
            version_of(Proposal(other, {}, False, False), snapshot)
        assert refused.value.field == "server.grpc_port"
