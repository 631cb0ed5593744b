"""One shadow of a running server: switches it, and reads what the server has counted of it."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from deploy.shadow_blocks import Counts, Written
from loadtest.labelled import Labelled
from serve.admin_client import ask
from serve.steering import change_traffic
from variants.errors import EngineError

SETTLE_LIMIT_S = 240.0
LOOK_S = 1.0
"""Ingresses report twice as often."""


class Shadowing:
    """What is asked of the server, and how far its journal was read."""

    def __init__(self, url: str, model: str, variant: str) -> None:
        self.url, self.model, self.variant = url, model, variant
        self.read, self.written = 0, Written()

    async def share(self, share: float) -> None:
        """Returns when every ingress chooses by it."""
        changes = {"shadows": {self.variant: share}}
        await asyncio.to_thread(change_traffic, self.url, self.model, changes, "make shadow-cost")

    async def counts(self, load: Labelled) -> Counts:
        """As `/metrics` has them now."""
        async with load.session.get(f"{self.url}/metrics") as answer:
            return counts_in(await answer.text(), self.model, self.variant)

    async def settled(self) -> Written:
        """Wait until something came of all that was chosen, and is on disk. Raises EngineError after four minutes."""
        for _ in range(round(SETTLE_LIMIT_S / LOOK_S)):
            before = self.written
            await asyncio.sleep(LOOK_S)
            await self.read_journal()
            if self.written.settled and self.written == before:
                return self.written
        raise EngineError(f"shadow pairs are unaccounted for: {self.written}")

    async def read_journal(self) -> None:
        found = await asyncio.to_thread(ask, self.url, "GET", "/admin/v1/journal?last=10000")
        for entry in found["entries"]:
            if entry["seq"] > self.read and entry["kind"] == "outcomes":
                for shadowed in entry["models"].get(self.model, {}).get("shadows", {}).values():
                    self.written = self.written.plus(shadowed)
        self.read = found["entries"][-1]["seq"]


def counts_in(text: str, model: str, variant: str) -> Counts:
    """Shadow pairs in Prometheus' text format; those that were withdrawn count as not chosen."""
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if (sample.labels.get("model"), sample.labels.get("variant")) != (model, variant):
                continue
            if sample.name == "understudy_shadow_pairs_total":
                if (outcome := sample.labels["outcome"]) != "withdrawn":
                    found[outcome] = int(sample.value)
            elif sample.name == "understudy_shadow_waiting":
                found["waiting"] = int(sample.value)
    return Counts(**found)
