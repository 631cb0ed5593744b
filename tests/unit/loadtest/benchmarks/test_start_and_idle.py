"""What `make bench-start` makes of a server's processes."""

import subprocess
import sys

import pytest

from loadtest.benchmarks.start_and_idle import Readings, role_of, rounded


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["ray::ServeReplica:engines:host"], "deployments of engines"),
        (["ray::ServeReplica:ingress:ingress"], "the ingress"),
        (["ray::ServeReplica:controller:controller"], "our controller"),
        (["python", "-m", "serve.engines.warm", "serve.engines.vllm.server"], "warmed processes"),
        (["python", "-m", "serve.engines.vllm.server", "--model", "m"], "engines of vLLM"),
        (["VLLM::EngineCore"], "engines of vLLM"),
        (["python", "-m", "serve.engines.openvino.text_encoder"], "other engines"),
        (["/x/ray/core/src/ray/raylet/raylet", "--raylet_socket_name=s"], "the raylet"),
        (["python", "-u", "/x/ray/dashboard/agent.py", "--raylet-name=s"], "Ray's dashboard and its agent"),
        (["python", "/x/ray/_private/log_monitor.py"], "Ray's log monitor"),
        (["sh"], "other"),
        ([], "other"),
    ],
)
def test_a_process_has_the_role_that_its_command_says(command: list[str], role: str) -> None:
    assert role_of(command) == role


def test_what_a_process_took_counts_after_its_end() -> None:
    code = "import sys\nfor _ in range(3_000_000): pass\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        readings = Readings(process.pid)
        before = readings.take()
        process.communicate(b"")
    assert before["other"] > 0
    assert readings.take() == before


def test_the_largest_role_comes_first() -> None:
    assert list(rounded({"a": 1.234, "b": 5.678}).items()) == [("b", 5.68), ("a", 1.23)]
