"""The attack that once gave `pruned` all of its parent's traffic: requests with a label that no answer has.

And the same requests with their own labels, on the demo's stack with real weights."""

import asyncio
import base64
import time
from typing import Any

import httpx
import pytest

from serve.cli.rollout_text import describe_rollout
from variants import tasks

pytestmark = pytest.mark.integration
ROLLOUT = "/admin/v1/models/digits/rollout"
LIMIT_S = 300.0
"""Detects a hang; it is no limit on speed."""
REQUESTS = 300


async def send_digits(client: httpx.AsyncClient, junk: bool) -> None:
    """Routed requests in turn, each a picture of its own."""
    for example in tasks.get("mnist").examples("test", REQUESTS):
        assert isinstance(example.input, bytes)
        picture = base64.b64encode(example.input).decode()
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [picture]}
        label = "zzz" if junk else example.label
        answer = await client.post(
            "/v2/models/digits/infer", json={"inputs": [tensor]}, headers={"x-understudy-label": label}
        )
        assert answer.status_code == 200, answer.text


async def compared(client: httpx.AsyncClient, junk: bool) -> dict[str, Any]:
    """The rollout of `pruned` after these requests. It is ended here."""
    plan = {"variant": "pruned", "steps": ["shadow", 10, 50, 100], "shadow": 1.0, "gate": {"quality": 0.02}}
    begun = await client.post(ROLLOUT, json=plan | {"against_card": "this test attacks it"})
    assert begun.status_code == 200, begun.text
    await send_digits(client, junk)
    deadline = time.monotonic() + LIMIT_S
    while True:
        answer: dict[str, Any] = (await client.get(ROLLOUT)).json()
        pairs = answer["pairs"]
        over = pairs["chosen"] == pairs["compared"] + pairs["skipped"] + sum(pairs["lost"].values())
        if over or answer["rollout"]["status"] != "running":
            break
        assert time.monotonic() < deadline, describe_rollout(answer)
        await asyncio.sleep(0.5)
    if answer["rollout"]["status"] == "running":
        assert (await client.post(f"{ROLLOUT}/abort")).status_code == 200
    return answer


async def test_labels_that_no_answer_has_move_nothing(demo: tuple[str, int]) -> None:
    async with httpx.AsyncClient(base_url=demo[0], timeout=120) as client:
        answer = await compared(client, junk=True)
    assert answer["pairs"]["compared"] >= 50
    assert answer["rollout"]["doing"] == "shadow"
    assert answer["verdict"]["decision"] == "inconclusive"
    assert any("these labels do not tell right from wrong" in each for each in answer["verdict"]["missing"])


async def test_the_same_requests_with_their_own_labels_tell_something(demo: tuple[str, int]) -> None:
    """`pruned` loses about as much as is allowed, so that so few requests decide nothing."""
    async with httpx.AsyncClient(base_url=demo[0], timeout=120) as client:
        answer = await compared(client, junk=False)
    assert answer["labels"]["contrast"] > 0.5
    assert not any("do not tell right from wrong" in each for each in answer["verdict"]["missing"])
    assert answer["verdict"]["decision"] != "promote"
