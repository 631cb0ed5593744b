"""A client of the controller for an ingress, through Ray Serve."""

from collections.abc import Awaitable, Callable
from typing import Any

from serve.cluster.deployer import CONTROLLER, Handles
from serve.errors import NotReady
from variants.errors import UnderstudyError


class RayControllerClient:
    """Calls the controller's deployment: each method of `serve.control.contract.ControllerClient` is a remote call.

    Raises what the controller raises, and NotReady if the controller does not answer."""

    def __init__(self) -> None:
        self.handles = Handles()

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            import ray

            try:
                handle = await self.handles.of(CONTROLLER)
                return await getattr(handle, method).remote(*arguments)
            except ray.exceptions.RayTaskError as error:  # over Ray's object store
                raise error.cause from None
            except UnderstudyError:  # over gRPC, which Serve uses beside HAProxy, an error comes without Ray's wrapper
                raise
            except Exception as error:  # Ray has many errors for a replica that is starting or gone
                raise NotReady(f"the controller does not answer: {error}", mend="try again shortly") from error

        return call
