"""A verdict that a demo has left is in the summary and on the page, in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.results.page import write
from loadtest.results.summary import summarise
from tests.unit.loadtest.results.made import TEXT, make
from variants.errors import IntegrityError

DIGESTS = [f"{made.size:064x}" for made in TEXT[:2]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


def finding(metric: str, state: str = "open", **more: Any) -> dict[str, Any]:
    common = {"metric": metric, "n": 239, "value": -0.004, "low": -0.061, "high": 0.049, "limit": -0.05}
    return {**common, "state": state, **more}


def leave(folder: Path, decision: str, findings: list[dict[str, Any]], **more: Any) -> None:
    """What `/admin/v1/models/smollm2/rollout` answers, as the demo keeps it."""
    rollout = {
        "plan": {"variant": "int8", "steps": ["shadow"], "gate": {"quality": 0.05, "alpha": 0.05}},
        "parent": "baseline", "digests": DIGESTS, "step": 0, "status": "aborted", "why": "abort by somebody",
    }  # fmt: skip
    document = {
        "model": "smollm2",
        "rollout": {**rollout, **more},
        "verdict": {"decision": decision, "different": False, "findings": findings, "missing": ["quality: 120 more"]},
        "pairs": {"chosen": 241, "dropped": 2, "compared": 239, "divergence": None},
    }
    (folder / "verdict.json").write_text(json.dumps(document))


def test_none_where_there_is_none(folder: Path) -> None:
    summary = summarise(folder)
    assert summary.verdict is None
    assert "in shadow" not in write(summary, folder).read_text()


def test_one_that_is_open_says_so_and_what_is_missing(folder: Path) -> None:
    errors = finding("errors", "holds", value=0.0, low=0.0, high=0.0153, limit=0.02)
    leave(folder, "inconclusive", [finding("quality"), errors])
    verdict = summarise(folder).verdict
    assert verdict is not None
    assert (verdict.variant, verdict.parent, verdict.status) == ("int8", "baseline", "aborted")
    assert verdict.says == (
        "smollm2: int8 was compared with baseline on 239 live requests that baseline had answered, without "
        "delay for clients; 241 were sampled, 2 skipped for lack of time, 0 lost.",
        "int8 is neither proven to keep its limits nor to break one; the rollout ended as aborted: abort by somebody.",
        "A verdict still needs: quality: 120 more.",
    )
    quality, failed = verdict.metrics
    assert (quality.mean_text, quality.allowed) == ("−0.4 points (−6.1 points to +4.9 points)", "at least −5.0 points")
    assert (failed.mean_text, failed.allowed) == ("0.0 % (0.0 % to 1.5 %)", "at most 2.0 %")
    kept = json.loads((folder / "summary.json").read_text())["verdict"]
    assert kept["metrics"][0]["low"] == -0.061
    page = write(summarise(folder), folder).read_text()
    for text in ("int8 behind baseline", "not proven yet", "proven to hold", "at most 2.0 %", "239", *verdict.says[:1]):
        assert text.replace("'", "&#39;") in page


def test_harm_stands_out(folder: Path) -> None:
    leave(folder, "roll back", [finding("quality", "broken", value=None)], status="rolled back", why="quality is lost")
    verdict = summarise(folder).verdict
    assert verdict is not None
    assert verdict.says[1] == "int8 is proven to break a limit; the rollout ended as rolled back: quality is lost."
    assert verdict.metrics[0].mean_text == "no outcome yet"
    assert '<td class="alarm">proven broken</td>' in write(summarise(folder), folder).read_text()


def test_a_verdict_on_other_builds_is_refused(folder: Path) -> None:
    leave(folder, "promote", [finding("quality", "holds")], digests=[DIGESTS[0], "f" * 64])
    with pytest.raises(IntegrityError, match="other builds of smollm2"):
        summarise(folder)


def test_a_damaged_one_is_refused(folder: Path) -> None:
    (folder / "verdict.json").write_text('{"model": "smollm2", "rollout": null}')
    with pytest.raises(IntegrityError, match="damaged"):
        summarise(folder)
