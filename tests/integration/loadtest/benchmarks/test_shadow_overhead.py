"""A slice of `make bench-shadow` on scripted engines: that it counts, not how fast anything is."""

import asyncio
from pathlib import Path

import pytest

from loadtest.benchmarks.shadow_overhead import Plan, describe_result, measure
from serve.ports import free_port
from tests.support.local_stage import local
from tests.support.scripted import echo_stack, with_variants

pytestmark = pytest.mark.integration
SLICE = Plan(model="echo", pairs=2, seconds=1.5, share=0.5, examples=32)


async def test_pairs_of_campaigns_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    engine = {"kind": "scripted", "first_token_s": 0.05}
    variants = {
        "baseline": {"weight": 1, "engine": engine},
        "int8": {"weight": 0, "parent": "baseline", "engine": engine},
    }
    async with local(tmp_path, with_variants(echo_stack(free_port()), "echo", variants)) as served:
        url = str(served.client.base_url).rstrip("/")
        result = await asyncio.to_thread(measure, SLICE, url, tmp_path)
    assert len(result["pairs"]) == 2
    assert all(pair["failed"] == 0 and pair["requests"] > 0 for pair in result["pairs"])
    assert all(pair["with_shadows_s"] >= 0.05 and pair["without_s"] >= 0.05 for pair in result["pairs"])
    assert result["shadow_pairs"]["compared"] > 0
    assert "2 pairs" in describe_result(result)
