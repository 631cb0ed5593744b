"""A client of the controller for an ingress, through Ray Serve."""

from typing import Any

from serve.cluster.deployer import CONTROLLER, Handles
from serve.config.snapshot import Snapshot
from serve.control.contract import Heartbeat
from serve.errors import NotReady


class RayControllerClient:
    """Raises what the controller raises, and NotReady if the controller does not answer."""

    def __init__(self) -> None:
        self.handles = Handles()

    async def ask(self, method: str, *arguments: Any) -> Any:
        import ray

        try:
            handle = await self.handles.of(CONTROLLER)
            return await getattr(handle, method).remote(*arguments)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except Exception as error:  # Ray has many errors for a replica that is starting or gone
            raise NotReady(f"the controller does not answer: {error}", mend="try again shortly") from error

    async def tell(self, report: Heartbeat) -> Snapshot | None:
        snapshot: Snapshot | None = await self.ask("tell", report)
        return snapshot

    async def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        return dict(await self.ask("propose", document))

    async def state(self) -> dict[str, Any]:
        return dict(await self.ask("state"))

    async def cancel(self, number: int | None = None) -> dict[str, Any]:
        return dict(await self.ask("cancel", number))

    async def traffic(self, model: str) -> dict[str, Any]:
        return dict(await self.ask("traffic", model))

    async def set_traffic(
        self, model: str, document: dict[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        return dict(await self.ask("set_traffic", model, document, version, who, why))

    async def rollout(self, model: str) -> dict[str, Any]:
        return dict(await self.ask("rollout", model))

    async def begin_rollout(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        return dict(await self.ask("begin_rollout", model, document, who))

    async def steer_rollout(self, model: str, action: str, who: str) -> dict[str, Any]:
        return dict(await self.ask("steer_rollout", model, action, who))

    async def add_feedback(self, document: dict[str, Any]) -> dict[str, Any]:
        return dict(await self.ask("add_feedback", document))

    async def journal(self, last: int) -> list[dict[str, Any]]:
        return list(await self.ask("journal", last))
