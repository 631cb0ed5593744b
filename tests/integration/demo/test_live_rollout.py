"""Evidence moves the traffic of a real model: a damaged variant is rolled back by itself, int8 takes over by itself.

Open-loop labelled load on the routed model, each example once; nobody who asks gets an error. The traffic is as it was
at the end.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file, save_file

from serve.control.state import ControlState
from tests.support.family import change
from tests.support.long import long_only
from variants import tasks
from variants.artifacts.manifest import Manifest
from variants.artifacts.store import Artifact, Store, entries
from variants.home import home

pytestmark = pytest.mark.integration
ROLLOUT = "/admin/v1/models/smollm2/rollout"
TRAFFIC = "/admin/v1/models/smollm2/traffic"
LIMIT_S = 600.0
EVERY_S, AT_ONCE = 0.25, 8
NOISE = 0.8
CHATS = 12


def damaged(artifact: Artifact) -> Artifact:
    """int8 with noise on its scales."""
    store = Store(home())
    key = f"{'d' * 56}{artifact.manifest.key[:8]}"
    if store.has(key):
        return store.open(key)
    with store.staging(key) as staged:
        (staged / "model").mkdir()
        for file in artifact.model_path.iterdir():
            (staged / "model" / file.name).write_bytes(file.read_bytes())
        weights = staged / "model" / "model.safetensors"
        tensors, random = load_file(weights), torch.Generator().manual_seed(0)
        scales = [name for name in tensors if name.endswith("weight_scale")]
        assert scales
        for name in scales:
            noise = torch.randn(tensors[name].shape, generator=random).mul(NOISE).exp()
            tensors[name] = (tensors[name].float() * noise).to(tensors[name].dtype)
        save_file(tensors, weights, {"format": "pt"})
        files = entries(staged)
        fields = {name: getattr(artifact.manifest, name) for name in Manifest.model_fields}
        fields |= {"key": key, "digest": Manifest.digest_of_files(files), "variant": "damaged", "files": files}
        return store.keep(staged, Manifest(**fields))


def requests() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Task, prompt, label and labels of every held-out example, tasks in turn."""
    both = [tasks.get(name) for name in ("rotten_tomatoes", "r8")]
    for pair in zip(*(task.examples("test") for task in both), strict=False):
        for task, example in zip(both, pair, strict=True):
            yield task.name, str(example.input), example.label, task.labels


@asynccontextmanager
async def steady(client: httpx.AsyncClient) -> AsyncIterator[Counter[int]]:
    """A labelled request every quarter of a second, or a third of what this machine can answer; gives the statuses."""
    statuses: Counter[int] = Counter()
    supply = requests()
    bias: dict[tuple[str, ...], dict[int, int]] = {}
    asked: list[asyncio.Task[None]] = []

    async def ask(task: str, prompt: str, label: str, labels: tuple[str, ...]) -> None:
        if labels not in bias:
            firsts = []
            for each in labels:
                body = {"model": "smollm2@baseline", "prompt": each, "add_special_tokens": False}
                firsts.append((await client.post("/tokenize", json=body)).json()["tokens"][0])
            bias[labels] = dict.fromkeys(firsts, 100)
        body = {
            "model": "smollm2", "prompt": prompt, "max_tokens": 1, "temperature": 0, "logit_bias": bias[labels]
        }  # fmt: skip
        headers = {"x-understudy-label": label.strip(), "x-understudy-task": task}
        statuses[(await client.post("/v1/completions", json=body, headers=headers)).status_code] += 1

    async def loop(every_s: float) -> None:
        for each in supply:
            asked.append(asyncio.create_task(ask(*each)))
            await asyncio.sleep(every_s)

    for _ in range(2):  # the first time, label tokens are asked for
        began = time.monotonic()
        await asyncio.gather(*(ask(*each) for each in itertools.islice(supply, AT_ONCE)))
    looping = asyncio.create_task(loop(max(EVERY_S, 3 * (time.monotonic() - began) / AT_ONCE)))
    try:
        yield statuses
    finally:
        assert not looping.done(), f"the load has ended: {looping}"
        looping.cancel()
        await asyncio.gather(*asked)


async def ended(client: httpx.AsyncClient) -> dict[str, Any]:
    deadline = time.monotonic() + LIMIT_S
    while True:
        rollout_state: dict[str, Any] = (await client.get(ROLLOUT)).json()
        if rollout_state["rollout"]["status"] != "running":
            return rollout_state
        assert time.monotonic() < deadline, rollout_state
        await asyncio.sleep(1)


async def journal_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await client.get("/admin/v1/journal?last=10000")).json()["entries"]
    return entries


def check_replay(entries: list[dict[str, Any]], rollout_state: dict[str, Any]) -> None:
    """The journal says again what the controller said."""
    assert entries[0]["seq"] == 1, "not all of it is here"
    ledger = ControlState.read(entries)
    rollout = {name: value for name, value in rollout_state["rollout"].items() if name != "doing"}
    assert ledger.rollouts["smollm2"].to_json() == rollout
    assert ledger.traffic["smollm2"].version == rollout_state["traffic"]["version"]
    assert ledger.traffic["smollm2"].traffic.model_dump(mode="json") == rollout_state["traffic"]["traffic"]
    pair = ledger.pair(ledger.rollouts["smollm2"].pair)
    assert pair.compared >= rollout_state["pairs"]["compared"] > 0


def plan(variant: str) -> dict[str, Any]:
    guard = {"errors": 0.2, "latency": None, "block_s": 5, "least": 20}
    gate = {"quality": 0.05, "errors": 0.05, "guard": guard}
    return {"variant": variant, "shadow": 1.0, "hold_s": 3.0, "watch_s": 0, "gate": gate}


@long_only
async def test_a_damaged_variant_is_rolled_back_by_itself(demo: tuple[str, int]) -> None:
    async with httpx.AsyncClient(base_url=demo[0], timeout=120) as client:
        state = (await client.get("/admin/v1/stack")).json()
        model, keys = state["stack"]["models"]["smollm2"], state["artifacts"]
        worse = damaged(Store(home()).open(keys["smollm2@int8"]))
        variants = {**model["variants"], "damaged": {**model["variants"]["int8"], "weight": 0}}
        models = {**state["stack"]["models"], "smollm2": {**model, "variants": variants}}
        grown = {
            "stack": {**state["stack"], "models": models},
            "artifacts": {**keys, "smollm2@damaged": worse.manifest.key},
        }
        done = await change(client, grown)
        assert done["state"] == "done", done
        async with steady(client) as statuses:
            answer = await client.post(ROLLOUT, json=plan("damaged"))
            assert answer.status_code == 200, answer.text
            rollout_state = await ended(client)
        journal = await journal_of(client)
        done = await change(client, {"stack": state["stack"], "artifacts": keys, "force": True})
        assert done["state"] == "done", done
    print(f"damaged: {rollout_state['rollout']['status']}, {rollout_state['pairs']}")
    assert rollout_state["rollout"]["status"] == "rolled back", rollout_state
    assert rollout_state["verdict"]["findings"][0]["high"] < -0.05
    check_replay(journal, rollout_state)
    assert set(statuses) == {200}


async def test_answers_to_chats_without_labels_are_scored_by_both(demo: tuple[str, int]) -> None:
    """int8's own words are not asked for: it is asked how likely it finds its parent's.

    The margin is one that so few pairs cannot prove, so that the rollout is still in shadow when the last is compared.
    """
    unlabelled = {
        "variant": "int8", "steps": ["shadow"], "shadow": 1.0, "gate": {"quality": None, "agreement": 0.02}
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=demo[0], timeout=120) as client:
        answer = await client.post(ROLLOUT, json=unlabelled)
        assert answer.status_code == 200, answer.text
        by_parent = 0
        for number in range(CHATS):
            turns = [{"role": "user", "content": f"Write one sentence about the number {number}."}]
            body = {
                "model": "smollm2",
                "messages": turns,
                "max_tokens": 24,
                "temperature": 0,
                "stream": number % 2 == 1,
            }
            answered = await client.post("/v1/chat/completions", json=body)
            assert answered.status_code == 200, answered.text
            by_parent += answered.headers["x-understudy-variant"] == "baseline"
        assert by_parent >= CHATS // 3, "most of the weight is the parent's"
        deadline = time.monotonic() + LIMIT_S
        while (pairs := (rollout_state := (await client.get(ROLLOUT)).json())["pairs"])["compared"] + pairs[
            "skipped"
        ] + sum(pairs["lost"].values()) < by_parent:
            assert time.monotonic() < deadline, rollout_state
            await asyncio.sleep(0.5)
        aborted = await client.post(f"{ROLLOUT}/abort")
        assert aborted.status_code == 200, aborted.text
    finding = next(each for each in rollout_state["verdict"]["findings"] if each["metric"] == "agreement")
    print(f"agreement: {finding}")
    assert finding["n"] == pairs["compared"] >= by_parent // 2, "a slow machine may find no moment for some"
    assert -0.5 < finding["value"] <= 0.1


@long_only
async def test_int8_takes_over_by_itself(demo: tuple[str, int]) -> None:
    async with httpx.AsyncClient(base_url=demo[0], timeout=120) as client:
        before, seen = (await client.get(TRAFFIC)).json()["traffic"], (await journal_of(client))[-1]["seq"]
        async with steady(client) as statuses:
            answer = await client.post(ROLLOUT, json=plan("int8"))
            assert answer.status_code == 200, answer.text
            rollout_state = await ended(client)
        journal = await journal_of(client)
        restored = await client.put(TRAFFIC, json=before, headers={"if-match": "*"})
        assert restored.status_code == 200, restored.text
    print(f"int8: {rollout_state['rollout']['status']}, {rollout_state['pairs']}")
    assert rollout_state["rollout"]["status"] == "promoted", rollout_state
    assert rollout_state["traffic"]["shares"]["baseline"] == 0.0
    check_replay(journal, rollout_state)
    rollouts = [entry["rollout"] for entry in journal if entry["kind"] == "rollout" and entry["seq"] > seen]
    assert [each["step"] for each in rollouts] == [0, 1, 2, 3, 3]
    assert set(statuses) == {200}
