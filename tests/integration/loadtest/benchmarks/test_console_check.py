"""`make console-check` over scripted engines that have the names of the demo's models: every task, and every page."""

from pathlib import Path

import pytest
import yaml

from loadtest.benchmarks.console.__main__ import CAMPAIGN, EMBEDDER, TEXT, check, faults, keeping
from serve.config.loader import load
from serve.config.stack import Stack
from serve.ports import free_port
from tests.integration.serve.console.test_load_page import write_campaign
from tests.support.local_stage import local
from tests.support.long import long_only
from tests.support.programs import need
from tests.support.scripted import RECIPE, make_artifacts, make_stack

pytestmark = [pytest.mark.integration, long_only]


def stack_in(folder: Path) -> Stack:
    """The stack of the check. `int8` of the text model repeats its answer up to the limit, so it differs from its
    parent's."""
    document = make_stack(free_port()).model_dump(mode="json", by_alias=True)
    echo, near = document["models"]["echo"], document["models"]["near"]
    for model, more in ((echo, {"loops": True}), (near, {})):
        engine = {"kind": "scripted"}
        model["variants"] = {
            "baseline": {"recipe": RECIPE, "engine": engine, "weight": 1},
            "int8": {"recipe": RECIPE, "engine": engine | more, "weight": 0, "parent": "baseline"},
        }
    document["models"] = {TEXT: echo, EMBEDDER: near}
    (folder / "given.yaml").write_text(yaml.safe_dump(document))
    return load(keeping(folder / "given.yaml", folder))


async def test_every_task_is_done_and_every_page_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("chromium")
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    write_campaign(tmp_path, 1, TEXT, CAMPAIGN)
    stack = stack_in(tmp_path)
    async with local(tmp_path, stack, make_artifacts(tmp_path, stack)) as served:
        figures = await check(str(served.client.base_url).rstrip("/"), widths=(360,))
    assert faults(figures) == []
    assert len(figures["tasks"]) == 5
    paths = {page["path"] for page in figures["pages"]}
    assert {f"/models/{TEXT}/pairs", f"/models/{TEXT}/pairs/rate", "/pages/load"} <= paths
    assert sum("/report" in path for path in paths) == 2
    assert sum("/compare" in path for path in paths) == 1
