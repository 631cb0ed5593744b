"""The client of the controller: each call is a remote call of the same name."""

from typing import Any

import pytest
import ray

from serve.cluster.deployer import CONTROLLER
from serve.control.client import RayControllerClient
from serve.errors import Conflict, NotReady


class Remote:
    """One method of a handle."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.calls: list[tuple[Any, ...]] = []

    async def remote(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Handle:
    """A handle to a controller that knows one method."""

    def __init__(self, result: Any) -> None:
        self.set_traffic = Remote(result)


def client_of(handle: Handle) -> RayControllerClient:
    client = RayControllerClient()
    client.handles.handles[CONTROLLER] = handle
    return client


async def test_a_call_has_the_same_name_and_arguments() -> None:
    handle = Handle({"version": 2})
    assert await client_of(handle).set_traffic("echo", {}, 1, "somebody", "") == {"version": 2}
    assert handle.set_traffic.calls == [("echo", {}, 1, "somebody", "")]


@pytest.mark.parametrize("wrapped", [True, False], ids=["by Ray", "by gRPC"])
async def test_the_controllers_error_is_raised_as_it_is(wrapped: bool) -> None:
    error: Exception = Conflict("a rollout is in progress")
    if wrapped:
        error = ray.exceptions.RayTaskError("set_traffic", "a traceback", error)
    with pytest.raises(Conflict, match="a rollout is in progress"):
        await client_of(Handle(error)).set_traffic("echo")


async def test_any_other_error_means_that_the_controller_does_not_answer() -> None:
    with pytest.raises(NotReady, match="the controller does not answer: it was restarted"):
        await client_of(Handle(RuntimeError("it was restarted"))).set_traffic("echo")
