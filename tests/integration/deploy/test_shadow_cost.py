"""A slice of `make shadow-cost` over scripted engines: that it counts, not how fast anything is."""

import json
from pathlib import Path

import pytest

from deploy.shadow_cost import Size, measure, tables, write
from serve.ports import free_port
from tests.local_stage import local
from tests.scripted import echo_stack, with_variants
from variants.progress import NoProgress

pytestmark = pytest.mark.integration
SLICE = Size(rounds=2, pairs=2, block_s=1.5, lead_s=0.5, probe_s=1.0, saturated_s=3.0, clients=24, share=0.5)


async def test_everything_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("serve.shadow.QUEUE", 8)
    monkeypatch.setattr("serve.shadow.WAIT_S", 1.0)
    engine = {"kind": "scripted", "first_token_s": 0.05}
    variants = {
        "baseline": {"weight": 1, "engine": engine},
        "int8": {"weight": 0, "parent": "baseline", "engine": engine},
    }
    stack = with_variants(echo_stack(free_port()), "echo", variants)
    document = stack.model_dump(mode="json", by_alias=True)
    document["models"]["echo"]["limits"]["concurrency"] = 4
    stack = type(stack).model_validate(document)
    async with local(tmp_path, stack) as served:
        url = str(served.client.base_url).rstrip("/")
        found = await measure(url, "echo", "int8", "rotten_tomatoes", SLICE, tmp_path, NoProgress())
    blocks = [block for each in found["rounds"] for block in each["blocks"]]
    assert [(block["pair"], block["shadowed"]) for block in blocks] == [
        (0, True), (0, False), (1, False), (1, True), (2, False), (2, True), (3, True), (3, False),
    ]  # fmt: skip
    assert all(block["failed"] == 0 for block in blocks)
    for first, second in zip(blocks[::2], blocks[1::2], strict=True):
        assert first["requests"] == second["requests"] > 0
    assert found["chosen_without_shadows"] == 0
    assert found["completed"]["chosen"] > 0
    assert found["p95_ratio"]["pairs"] == 4
    saturated = found["saturated"]
    assert saturated["counted"]
    assert saturated["failed"] == 0
    assert saturated["chosen"] > saturated["shadows"]["compared"]
    assert saturated["shadows"]["dropped_full"] > 0
    assert saturated["shadows"]["dropped_late"] > 0
    assert saturated["shadows"]["waiting"] == 0
    assert "NOT" not in tables(found)
    assert (tmp_path / "rounds.json").exists()
    written = json.loads(write(tmp_path, found).read_text())
    assert {"schema", "machine", "versions", "p95_ratio", "completed", "saturated", "rounds"} <= written.keys()
    assert not (tmp_path / "rounds.json").exists()
