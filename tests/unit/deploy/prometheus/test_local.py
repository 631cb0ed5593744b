"""The configuration that is started is the committed one, but for its target."""

import re
from typing import Any

import yaml

from deploy.prometheus.local import ALERTS, FOLDER, RECORDING, configuration
from tests.unit.deploy.families import sample_names

COMMITTED: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
RECORDED = [rule for group in yaml.safe_load(RECORDING.read_text())["groups"] for rule in group["rules"]]
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_only_the_target_differs() -> None:
    made = yaml.safe_load(configuration("127.0.0.1:4711"))
    assert made["scrape_configs"][0].pop("static_configs") == [{"targets": ["127.0.0.1:4711"]}]
    committed = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    committed["scrape_configs"][0].pop("static_configs")
    assert made.pop("alerting") == {"alertmanagers": [{"static_configs": [{"targets": []}]}]}
    del committed["alerting"]
    assert made == committed


def test_the_scrape_interval_can_be_short() -> None:
    made = yaml.safe_load(configuration("127.0.0.1:4711", "1s"))
    assert made["global"]["scrape_interval"] == "1s"
    assert made["rule_files"] == [RECORDING.name, ALERTS.name]


def test_grafana_knows_how_often_prometheus_scrapes() -> None:
    """`$__rate_interval` is made from it: too short a one and every rate is empty."""
    path = FOLDER.parent / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(path.read_text())["datasources"]
    assert source["jsonData"]["timeInterval"] == COMMITTED["global"]["scrape_interval"]


def test_alerts_are_of_metrics_that_exist_and_jobs_that_are_scraped() -> None:
    text = " ".join(rule["expr"] for rule in RULES + RECORDED)
    of_rules = r"\b\w+:understudy_\w+:\w+"
    assert set(re.findall(of_rules, text)) == {rule["record"] for rule in RECORDED}
    assert set(re.findall(r"understudy_\w+", re.sub(of_rules, "", text))) <= sample_names()
    assert set(re.findall(r'job="(\w+)"', text)) == {job["job_name"] for job in COMMITTED["scrape_configs"]}
