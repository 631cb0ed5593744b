"""docs/operating.md lists every metric and every alert, and nothing else. A golden file holds the metrics."""

import re

from deploy.grafana.check import FOLDER
from tests.support.processes import ROOT
from tests.unit.deploy.families import GOLDEN, ROW, described, families, golden, query_name
from tests.unit.deploy.prometheus.test_local import RULES

TEXT = (ROOT / "docs" / "operating.md").read_text()


def test_every_metric_is_listed_with_its_kind() -> None:
    listed = {name: kind for name, kind, _, _ in ROW.findall(TEXT)}
    assert listed == {name: family.type for name, family in families().items()}


def test_every_metric_is_listed_with_its_labels() -> None:
    listed = {name: set(re.findall(r"\w+", labels)) for name, _, _, labels in ROW.findall(TEXT)}
    assert listed == {query_name(family): labels for family, labels in described()}


def test_no_metric_changes_unseen() -> None:
    """Dashboards, alerts and other people's queries name them."""
    assert golden() == GOLDEN.read_text(), "if it is meant: python -m tests.unit.deploy.families"


def test_units_are_in_names_as_prometheus_wants_it() -> None:
    rows = ROW.findall(TEXT)
    assert rows
    for name, kind, unit, _ in rows:
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
