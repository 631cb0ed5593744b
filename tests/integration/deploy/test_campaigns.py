"""`make campaigns` in small: a detector trained in seconds, evaluated and driven through a server on Ray."""

from pathlib import Path

import pytest
import yaml

from deploy.campaigns import Family, drive_family
from deploy.demo import Clock
from tests.integration.conftest import Detectors
from tests.integration.detectors import small_stack
from variants.tasks.scenes import SCENES

pytestmark = pytest.mark.integration
CAMPAIGN = {
    "schema": 1, "name": "scenes", "limit_s": 120, "timeout_s": 20,
    "accuracy": {
        "clients": 4, "limit_s": 100, "tests": [{"model": "scenes", "task": "scenes", "n": SCENES["test"]}],
    },
}  # fmt: skip


def test_a_labelled_campaign_says_under_load_what_the_card_says_offline(
    detectors: Detectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", detectors.home)
    stack, campaign = tmp_path / "stack.yaml", tmp_path / "campaign.yaml"
    stack.write_text(yaml.safe_dump(small_stack().model_dump(mode="json", by_alias=True, exclude_none=True)))
    campaign.write_text(yaml.safe_dump(CAMPAIGN))
    clock = Clock()
    found = drive_family(Family(stack, campaign, ("baseline", "int8")), tmp_path / "out", clock)
    print(*found, clock.phases, sep="\n")
    assert [(each.variant, each.live.metric, each.live.n) for each in found] == [
        ("scenes@baseline", "mAP50", SCENES["test"]),
        ("scenes@int8", "mAP50", SCENES["test"]),
    ]
    assert all(each.within for each in found)
    assert all(each.card.low < each.card.value for each in found)
    assert (tmp_path / "out" / "report.html").is_file()
