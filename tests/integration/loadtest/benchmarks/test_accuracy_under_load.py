"""`make bench-accuracy` in small: the demo's digits, evaluated and driven through a server on Ray."""

from pathlib import Path

import pytest
import yaml

from loadtest.benchmarks.accuracy_under_load.__main__ import Family, drive_family
from loadtest.harness import Clock
from serve.config.loader import load, only
from tests.support.long import long_only
from tests.support.processes import ROOT, borrow_home

pytestmark = pytest.mark.integration
N = 1000
"""mnist's whole test split, which the card is of."""
CAMPAIGN = {
    "schema": 1, "name": "digits", "limit_s": 120, "timeout_s": 20,
    "accuracy": {"clients": 4, "limit_s": 100, "tests": [{"model": "digits", "task": "mnist", "n": N}]},
}  # fmt: skip


@long_only  # live labels and offline ones: test_detection.py, test_text_classification.py
def test_a_labelled_campaign_says_under_load_what_the_card_says_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(borrow_home(tmp_path / "home")))
    stack, campaign = tmp_path / "stack.yaml", tmp_path / "campaign.yaml"
    digits = only(load(ROOT / "deploy" / "stacks" / "demo.yaml"), "digits", "baseline", "int8")
    stack.write_text(yaml.safe_dump(digits.model_dump(mode="json", by_alias=True, exclude_none=True)))
    campaign.write_text(yaml.safe_dump(CAMPAIGN))
    clock = Clock()
    checks = drive_family(Family(stack, campaign, ("baseline", "int8")), tmp_path / "out", clock)
    print(*checks, clock.phases, sep="\n")
    assert [(each.variant, each.live.metric, each.live.n) for each in checks] == [
        ("digits@baseline", "accuracy", N),
        ("digits@int8", "accuracy", N),
    ]
    assert all(each.within for each in checks)
    assert all(each.card.low < each.card.value for each in checks)
    assert (tmp_path / "out" / "report.html").is_file()
