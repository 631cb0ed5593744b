"""The committed dashboard: not stale, well formed, and of metrics that exist."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from deploy.grafana import dashboard
from tests.unit.deploy.families import sample_names

DOCUMENT: dict[str, Any] = json.loads(dashboard.DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = DOCUMENT["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
COLUMNS = 24


def test_the_committed_json_is_what_the_code_makes() -> None:
    assert dashboard.DASHBOARD.read_text() == dashboard.to_json(), "stale: run `python -m deploy.grafana.dashboard`"


def test_grafana_can_find_it_again() -> None:
    assert DOCUMENT["schemaVersion"] >= 39
    assert re.fullmatch(r"[a-zA-Z0-9_-]{8,40}", DOCUMENT["uid"])
    assert DOCUMENT.get("id") is None, "an id belongs to one Grafana"
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))


def test_panels_lie_side_by_side() -> None:
    places = {panel["title"]: panel["gridPos"] for panel in PANELS}
    for title, place in places.items():
        assert place["x"] >= 0, title
        assert place["w"] > 0, title
        assert place["h"] > 0, title
        assert place["x"] + place["w"] <= COLUMNS, title
    for (first, one), (second, other) in combinations(places.items(), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{first} and {second} overlap"


def test_rows_are_full_and_leave_no_holes() -> None:
    """Grafana would move panels up into a hole, and the code would not say where they stand."""
    covered = {
        (column, line)
        for place in (panel["gridPos"] for panel in PANELS)
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    }
    height = max(line for _, line in covered) + 1
    assert len(covered) == COLUMNS * height


@pytest.mark.parametrize("panel", CHARTS, ids=lambda panel: panel["title"])
def test_a_panel_can_be_read(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert "repeat" not in panel
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    refs = [target["refId"] for target in panel["targets"]]
    assert refs
    assert len(refs) == len(set(refs))
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == "${datasource}"
        if panel["type"] != "table":
            assert "{{" in target["legendFormat"]
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = set(re.findall(r"\w+", " ".join(re.findall(r" by \(([^)]*)\)", target["expr"]))))
            assert shown <= kept, "the legend names a label that the query sums away"
            assert kept - shown <= {"le"}, "two lines would have one legend"


def test_the_variables_are_all_used_and_all_defined() -> None:
    defined = {variable["name"] for variable in DOCUMENT["templating"]["list"]}
    assert defined == {"datasource", "model", "variant"}
    text = json.dumps(CHARTS)
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert used == defined
    assert set(re.findall(r"\$(__\w+)", text)) <= {"__rate_interval"}
    (variant,) = (entry for entry in DOCUMENT["templating"]["list"] if entry["name"] == "variant")
    assert variant["multi"]
    assert variant["includeAll"]


def test_every_metric_exists() -> None:
    named = set(re.findall(r"understudy_\w+", json.dumps(CHARTS) + json.dumps(DOCUMENT["templating"])))
    named -= {"understudy_variants"}
    assert named <= sample_names()


def test_the_settings_that_provisioning_reads_are_explained() -> None:
    """Grafana leaves an unset variable empty in silence."""
    files = sorted((dashboard.DASHBOARD.parents[1] / "provisioning").glob("*/*.yaml"))
    assert len(files) == 2
    asked = set(re.findall(r"\$(\w+)", " ".join(path.read_text() for path in files)))
    asked -= {"__rate_interval"}
    assert asked == {"UNDERSTUDY_PROMETHEUS", "UNDERSTUDY_DASHBOARDS"}
    assert dashboard.__doc__ is not None
    assert all(f"{name}=" in dashboard.__doc__ for name in asked)
