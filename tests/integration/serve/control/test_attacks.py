"""Labels, clients and engines that would have moved a rollout wrongly, through the HTTP API."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.cli.rollout_text import describe_rollout
from serve.config.stack import Stack
from tests.integration.serve.control.test_rollout import GUARD, ROLLOUT, ended, family_of, settled, until
from tests.support.labelled_load import BIAS, labelled
from tests.support.local_stage import local

pytestmark = pytest.mark.integration

MOST_CHATS, AT_ONCE = 300, 10
"""More than a verdict needs: some replays find no time on a busy machine."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def plan(**more: Any) -> dict[str, Any]:
    gate = {"quality": 0.05, "guard": GUARD}
    usual = {"steps": ["shadow", 50], "shadow": 1.0, "hold_s": 0.2, "watch_s": 0, "gate": gate}
    return {"variant": "int8", **usual, **more}


async def send(client: httpx.AsyncClient, number: int, label: str, **headers: str) -> None:
    body = {"model": "echo", "prompt": f"number {number} is pos", "max_tokens": 1, "temperature": 0, "logit_bias": BIAS}
    answer = await client.post("/v1/completions", json=body, headers={"x-understudy-label": label, **headers})
    assert answer.status_code == 200


async def test_junk_labels_are_withheld_and_told(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.4)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await served.client.post(ROLLOUT, json=plan())
        for number in range(200):
            await send(served.client, number, "zzz")
        answer = await until(served.client, lambda answer: answer["pairs"]["compared"] >= 150)
    assert answer["rollout"]["doing"] == "shadow"
    assert answer["verdict"]["decision"] == "inconclusive"
    assert answer["verdict"]["findings"][0]["value"] == 0
    assert any("these labels do not tell right from wrong" in each for each in answer["verdict"]["missing"])


async def test_one_client_brings_at_most_its_share(tmp_path: Path) -> None:
    family = family_of(tmp_path)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await served.client.post(ROLLOUT, json=plan())
        for number in range(60):
            await send(served.client, number, "pos", **{"x-understudy-client": "mallory"})
        answer = await until(
            served.client, lambda answer: answer["pairs"]["over_share"] + answer["pairs"]["compared"] >= 60
        )
    assert answer["pairs"]["compared"] <= 6
    assert answer["verdict"]["decision"] == "inconclusive"
    assert any("more clients are needed" in each for each in answer["verdict"]["missing"])


async def test_a_variant_whose_clients_fail_is_returned_after_a_clean_shadow(tmp_path: Path) -> None:
    family = family_of(tmp_path, fail_after=500)
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4),
    ):
        await served.client.post(ROLLOUT, json=plan(steps=["shadow", 50, 100], hold_s=600, gate={"quality": 0.9}))
        answer = await until(served.client, lambda answer: answer["rollout"]["status"] != "running")
    assert answer["rollout"]["status"] == "rolled back", describe_rollout(answer)
    assert "errors" in answer["rollout"]["why"]
    assert answer["traffic"]["shares"] == {"baseline": 1.0, "int8": 0.0}


async def test_what_fails_at_both_arms_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From some request on, both variants fail. Neither is ejected, so both go on to be asked."""
    monkeypatch.setattr("serve.dataplane.outlier.CONSECUTIVE", 10**9)
    family = family_of(tmp_path, fail_after=50)
    family.variants["baseline"]["engine"]["fail_after"] = 50
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4),
    ):
        await served.client.post(ROLLOUT, json=plan(steps=[50, 90], hold_s=600, gate={"quality": 0.9}))
        answer = await until(served.client, lambda answer: answer["coverage"]["failed_at_both"] >= 100)
    assert answer["rollout"]["status"] == "running", describe_rollout(answer)


async def test_a_segment_that_loses_is_named(tmp_path: Path) -> None:
    """The variant answers German requests wrongly more often. English ones, whose labels are wrong, hide it."""
    family = family_of(tmp_path, errs=0.6)
    stack = family.stack.model_dump(mode="json", by_alias=True)
    stack["models"]["echo"]["segments"] = {"language": {"header": "x-language", "values": ["de", "en"]}}
    async with local(tmp_path, Stack.model_validate(stack), family.artifacts) as served:
        await served.client.post(ROLLOUT, json=plan(gate={"quality": 0.1, "guard": GUARD}))
        for number in range(160):
            language, label = (("de", "pos"), ("en", "neg"))[number % 2]
            await send(served.client, number, label, **{"x-language": language})
        answer = await until(served.client, lambda answer: answer["pairs"]["compared"] >= 150)
    segments = {each["name"]: each for each in answer["verdict"]["segments"]}
    assert answer["verdict"]["segments"][0]["name"] == "language=de"
    assert segments["language=de"]["high"] < -0.1 < 0.1 < segments["language=en"]["low"]
    assert any("segment language=de seems to lose more" in each for each in answer["verdict"]["missing"])


async def test_a_variant_that_refuses_what_its_parent_answers_is_returned(tmp_path: Path) -> None:
    """Both say that they can: the limit shows in the tokens alone. The refusals are errors and no wrong answers."""
    family = family_of(tmp_path, context=16)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await served.client.post(ROLLOUT, json=plan(gate={"quality": 0.05, "errors": 0.05, "guard": GUARD}))
        for number in range(60):
            body = {"model": "echo", "prompt": f"number {number} is " + "long " * 20, "max_tokens": 4}
            told = await served.client.post("/v1/completions", json=body, headers={"x-understudy-label": "long"})
            assert (told.status_code, told.headers["x-understudy-variant"]) == (200, "baseline"), told.text
        answer = await until(served.client, lambda answer: answer["rollout"]["status"] != "running")
    assert answer["rollout"]["status"] == "rolled back", describe_rollout(answer)
    assert "errors" in answer["rollout"]["why"]
    assert answer["pairs"]["compared"] == 0


@pytest.mark.parametrize(("loops", "status"), [(False, "promoted"), (True, "rolled back")])
async def test_chats_without_labels_bring_a_verdict(tmp_path: Path, loops: bool, status: str) -> None:
    """Equal answers take the traffic. A variant that never stops is rolled back."""
    family = family_of(tmp_path, loops=loops)
    gate = {"quality": None, "agreement": 0.1, "guard": None}
    async with local(tmp_path, family.stack, family.artifacts) as served:
        answer = (await served.client.post(ROLLOUT, json=plan(steps=["shadow"], gate=gate))).json()
        for number in range(MOST_CHATS):
            chat = [{"role": "user", "content": f"What may be said of the number {number}?"}]
            body = {"model": "echo", "messages": chat, "temperature": 0}
            told = await served.client.post("/v1/chat/completions", json=body)
            assert told.status_code == 200, told.text
            if number % AT_ONCE == AT_ONCE - 1:  # replays need a moment without clients
                answer = await until(served.client, lambda answer: ended(answer) or settled(answer))
            if ended(answer):
                break
    assert answer["rollout"]["status"] == status, describe_rollout(answer)
    assert answer["labels"]["n"] == 0
