"""docs/operating.md lists every metric and every alert, and nothing that is not there."""

import re

from deploy.grafana.check import FOLDER
from tests.support.processes import ROOT
from tests.unit.deploy.families import families
from tests.unit.deploy.prometheus.test_local import RULES

TEXT = (ROOT / "docs" / "operating.md").read_text()


def test_every_metric_is_listed_with_its_kind() -> None:
    listed = dict(re.findall(r"^\| `(understudy_\w+)` \| (\w+) \|", TEXT, re.MULTILINE))
    assert listed == {name: family.type for name, family in families().items()}


def test_units_are_in_names_as_prometheus_wants_it() -> None:
    rows = re.findall(r"^\| `(understudy_\w+)` \| (\w+) \| ([^|]+) \|", TEXT, re.MULTILINE)
    assert rows
    for name, kind, unit in rows:
        assert name.endswith("_total") == (kind == "counter"), name
        for base in ("seconds", "bytes"):
            assert name.endswith(f"_{base}") == (unit == base), name


def test_every_alert_has_its_place() -> None:
    headings = set(re.findall(r"^### (Understudy\w+)$", TEXT, re.MULTILINE))
    assert headings == {rule["alert"] for rule in RULES}
    for rule in RULES:
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (path, anchor) == ("docs/operating.md", rule["alert"].lower())


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
    assert all(path.name in TEXT for path in FOLDER.glob("*.json"))
