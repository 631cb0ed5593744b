"""Prometheus' own tool accepts what we hand it, and computes when each alert fires."""

import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.prometheus.local import ALERTS, FOLDER, RECORDING, configuration
from tests.support.programs import need

pytestmark = pytest.mark.integration
CASES = Path(__file__).with_name("alerts_test.yml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([need("promtool"), *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_committed_configuration_and_its_rules_are_valid() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")
    promtool("check", "rules", ALERTS, RECORDING)


def test_the_configuration_that_is_started_is_valid(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(configuration("127.0.0.1:4711", "1s"))
    for rules in (ALERTS, RECORDING):
        (tmp_path / rules.name).write_text(rules.read_text())
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", CASES)


def test_every_alert_is_seen_firing_and_quiet() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    rules = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == rules
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == rules
