"""A variant whose requests fail one after the other gets none for a while, if another variant can answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve.config.stack import Stack
from serve.dataplane import outlier
from serve.dataplane.outlier import CONSECUTIVE, Outlier
from serve.ports import free_port
from tests.support.local_stage import Local, local
from tests.support.scripted import echo_stack, with_variants

pytestmark = pytest.mark.integration
ASK = {"model": "echo", "prompt": "a b c d", "max_tokens": 2}


def stack_of(**script: Any) -> Stack:
    """`echo`, whose `int8` has an engine with that script and almost all of the traffic."""
    engine = {"kind": "scripted", **script}
    variants: dict[str, dict[str, Any]] = {"baseline": {"weight": 1}, "int8": {"weight": 1e6, "engine": engine}}
    return with_variants(echo_stack(free_port()), "echo", variants)


def hasty(stack: Stack, timeout_s: float) -> Stack:
    model = stack.models["echo"]
    limits = model.limits.model_copy(update={"timeout_s": timeout_s})
    return stack.model_copy(update={"models": {"echo": model.model_copy(update={"limits": limits})}})


async def statuses(served: Local, count: int) -> list[int]:
    return [(await served.client.post("/v1/completions", json=ASK)).status_code for _ in range(count)]


async def test_a_variant_that_answers_500_is_taken_out_shown_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlier, "FIRST_PAUSE_S", 2.0)
    async with local(tmp_path, stack_of(fail_after=0)) as served:
        assert await statuses(served, CONSECUTIVE) == [500] * CONSECUTIVE
        assert await statuses(served, 5) == [200] * 5
        answer = await served.client.post("/v1/completions", json=ASK)
        assert answer.headers["x-understudy-variant"] == "baseline"
        health = await served.client.get("/v2/health/ready")
        assert health.status_code == 200
        assert health.json()["models"]["echo"]["down"] == {"int8": "its last requests failed"}
        metrics = (await served.client.get("/metrics")).text
        assert 'understudy_variant_down{model="echo",reason="failing",variant="int8"} 1.0' in metrics
        async with asyncio.timeout(20):
            while served.upstreams.by_model["echo"]["int8"].down is not None:
                await asyncio.sleep(0.1)
        assert served.upstreams.by_model["echo"]["int8"].outlier.pause_s() == pytest.approx(4.0)


async def test_a_variant_that_answers_too_late_is_taken_out(tmp_path: Path) -> None:
    async with local(tmp_path, hasty(stack_of(hang_after=0), 0.3)) as served:
        assert await statuses(served, CONSECUTIVE) == [504] * CONSECUTIVE
        assert await statuses(served, 3) == [200] * 3


async def test_the_only_variant_that_can_answer_stays(tmp_path: Path) -> None:
    """Its clients get its own errors, not 503, and one client's bad requests cannot take a model away."""
    stack = with_variants(
        echo_stack(free_port()), "echo", {"baseline": {"engine": {"kind": "scripted", "fail_after": 0}, "weight": 1}}
    )
    async with local(tmp_path, stack) as served:
        assert await statuses(served, 2 * CONSECUTIVE) == [500] * 2 * CONSECUTIVE
        assert (await served.client.get("/v2/health/ready")).status_code == 200


def test_an_answer_ends_a_row_of_failures_and_many_forgive_an_ejection() -> None:
    results = Outlier()
    for _ in range(CONSECUTIVE - 1):
        assert not results.note(failed=True)
    assert not results.note(failed=False)
    for _ in range(CONSECUTIVE - 1):
        assert not results.note(failed=True)
    assert results.note(failed=True)
    pauses = [results.pause_s() for _ in range(8)]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]
    for _ in range(outlier.FORGIVEN):
        results.note(failed=False)
    assert results.pause_s() == 5
