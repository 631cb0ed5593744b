"""The committed dashboards: not stale, well formed, and of metrics that exist."""

import json
import re
from itertools import combinations
from typing import Any, get_args

import pytest

from deploy.grafana import dashboard, rollout
from deploy.grafana.check import FOLDER
from deploy.grafana.queries import share_right
from serve.control.contract import Decision, Status
from tests.unit.deploy.families import sample_names
from variants.evidence.gate import RANGES

FILES = sorted(FOLDER.glob("*.json"))
DOCUMENTS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FILES}
CHARTS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, document in DOCUMENTS.items()
    for panel in document["panels"]
    if panel["type"] != "row"
]
COLUMNS = 24


@pytest.fixture(params=DOCUMENTS.values(), ids=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    given: dict[str, Any] = request.param
    return given


def test_the_committed_json_is_what_the_code_makes() -> None:
    committed = {path.name: path.read_text() for path in FILES}
    assert committed == dashboard.texts(), "stale: run `python -m deploy.grafana.dashboard`"


def test_grafana_can_find_them_again(document: dict[str, Any]) -> None:
    assert document["schemaVersion"] >= 39
    assert re.fullmatch(r"[a-zA-Z0-9_-]{8,40}", document["uid"])
    assert document.get("id") is None, "an id belongs to one Grafana"
    for key in ("id", "title"):
        values = [panel[key] for panel in document["panels"]]
        assert len(values) == len(set(values))


def test_each_has_a_name_of_its_own() -> None:
    for key in ("uid", "title"):
        assert len({document[key] for document in DOCUMENTS.values()}) == len(DOCUMENTS)


def test_panels_lie_side_by_side(document: dict[str, Any]) -> None:
    places = {panel["title"]: panel["gridPos"] for panel in document["panels"]}
    for title, place in places.items():
        assert place["x"] >= 0, title
        assert place["w"] > 0, title
        assert place["h"] > 0, title
        assert place["x"] + place["w"] <= COLUMNS, title
    for (first, one), (second, other) in combinations(places.items(), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{first} and {second} overlap"


def test_rows_are_full_and_leave_no_holes(document: dict[str, Any]) -> None:
    """Grafana would move panels up into a hole, and the code would not say where they stand."""
    covered = {
        (column, line)
        for place in (panel["gridPos"] for panel in document["panels"])
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    }
    height = max(line for _, line in covered) + 1
    assert len(covered) == COLUMNS * height


@pytest.mark.parametrize("panel", CHARTS)
def test_a_panel_can_be_read(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["noValue"], "it says nothing while it is empty"
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


def test_the_variables_are_all_used_and_all_defined(document: dict[str, Any]) -> None:
    defined = {variable["name"] for variable in document["templating"]["list"]}
    assert defined == {"datasource", "model", "variant"}
    text = json.dumps(document["panels"])
    assert set(re.findall(r"\$\{?([a-z]\w*)", text)) == defined
    assert set(re.findall(r"\$(__\w+)", text)) <= {"__rate_interval", "__range"}
    (variant,) = (entry for entry in document["templating"]["list"] if entry["name"] == "variant")
    assert variant["multi"]
    assert variant["includeAll"]


def test_every_metric_exists(document: dict[str, Any]) -> None:
    text = json.dumps([document["panels"], document["templating"], document.get("annotations", {})])
    assert set(re.findall(r"understudy_\w+", text)) <= sample_names()


def test_each_verdict_is_an_annotation() -> None:
    shown = DOCUMENTS["rollout"]["annotations"]["list"]
    assert {each["name"].removeprefix("Verdict: ") for each in shown} == set(get_args(Decision))
    for each in shown:
        assert each["enable"]
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        decision = each["name"].removeprefix("Verdict: ")
        assert f'decision="{decision}"' in each["expr"]


def test_each_status_of_a_rollout_has_its_text() -> None:
    assert {text for text, _ in rollout.STATUSES.values()} == set(get_args(Status))


def test_the_settings_that_provisioning_reads_are_explained() -> None:
    """Grafana leaves an unset variable empty in silence."""
    files = sorted((FOLDER.parent / "provisioning").glob("*/*.yaml"))
    assert len(files) == 2
    asked = set(re.findall(r"\$(\w+)", " ".join(path.read_text() for path in files)))
    asked -= {"__rate_interval"}
    assert asked == {"UNDERSTUDY_PROMETHEUS", "UNDERSTUDY_DASHBOARDS"}
    assert dashboard.__doc__ is not None
    assert all(f"{name}=" in dashboard.__doc__ for name in asked)


def test_each_metric_of_a_gate_has_one_panel() -> None:
    asked = [
        re.search(r'metric(=|!~)"([a-z|]+)"', target["expr"])
        for panel in DOCUMENTS["rollout"]["panels"]
        for target in panel.get("targets", ())
        if rollout.BOUND in target["expr"]
    ]
    assert None not in asked
    for metric in RANGES:
        shown = [each for each in asked if each and (each[1] == "=") == (metric in each[2].split("|"))]
        assert len(shown) == 1, metric


def test_no_share_is_divided_by_zero() -> None:
    """The share of no requests would be shown as NaN."""
    assert share_right("a", "b") == "(a or 0 * b) / (b > 0)"


@pytest.mark.parametrize("panel", CHARTS)
def test_no_panel_divides_by_what_may_be_zero(panel: dict[str, Any]) -> None:
    """A divisor is either what `some` leaves, or in parentheses and never 0."""
    for target in panel["targets"]:
        divisors = re.findall(r"/ (?:on \(\) group_left \(\) )?(\S)", target["expr"])
        assert set(divisors) <= {"("}, target["expr"]
