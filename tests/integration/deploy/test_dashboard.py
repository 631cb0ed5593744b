"""Every query of the dashboards, run as Grafana runs it, against a real Prometheus that scraped a real server.

A refused query fails, and so does an empty one: a wrong name of a metric is an empty answer, not an error.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.check import DASHBOARD, FOLDER, Series, Watched, check, panels
from deploy.prometheus.local import ALERTS, RECORDING, start_prometheus
from tests.integration.deploy.traffic import MODEL, VARIANTS, compared_round, send
from tests.support.processes import ROOT, server
from tests.support.programs import need
from variants.errors import EngineError

pytestmark = pytest.mark.integration
DOCUMENT: dict[str, Any] = json.loads(DASHBOARD.read_text())
CHARTS = panels(DASHBOARD)
ALL = {path.stem: panels(path) for path in sorted(FOLDER.glob("*.json"))}
BY_TITLE = [pytest.param(name, title, id=f"{name}: {title}") for name, of_one in ALL.items() for title in of_one]
TRAFFIC_S = 10.0
ROLLOUT_S = 8.0
PLAN = {
    "variant": "int8", "steps": ["shadow", 50, 100], "shadow": 1.0, "hold_s": 3600, "by": "quality",
    "gate": {"quality": 0.05, "agreement": 0.1, "errors": 0.05, "floor": 0.5},
}  # fmt: skip
"""It stays in its first step."""
BOTH = ("Weights", "Share of routed requests against the weight")
"""Panels of *Rollout* that show the parent too."""
LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")
Seen = tuple[Watched, str, int]
"""What Prometheus saw before the rollout, the server's address, and how many rounds of traffic there were."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    need("prometheus")
    home = tmp_path_factory.mktemp("home")
    with (
        server(home, "tests.support.serve_scripted", "{port}", "token_s=0.002", "rollouts=yes") as (url, _),
        ExitStack() as children,
    ):
        prometheus = start_prometheus(children, url, home / "prometheus", interval="1s")
        began = time.time()
        rounds = send(url, TRAFFIC_S)
        time.sleep(2.5)  # the last scrape that matters, and one of what the engines hold
        assert prometheus is not None
        # Both variants chosen, one scrape a second.
        yield Watched(prometheus, began, time.time(), MODEL, f"({'|'.join(VARIANTS)})", "4s"), url, rounds


@pytest.fixture(scope="module")
def of_rollout(seen: Seen) -> tuple[Watched, str]:
    """The same Prometheus at the end of a rollout's first seconds, which come after what `watched` shows; and the text
    of `/metrics` then."""
    watched, url, _ = seen
    began = time.time()
    httpx.post(f"{url}/admin/v1/models/{MODEL}/rollout", json=PLAN, timeout=30).raise_for_status()
    send(url, ROLLOUT_S, compared_round)
    time.sleep(2.5)
    text = httpx.get(f"{url}/metrics", timeout=30).text
    return replace(watched, began=began, ended=time.time()), text


@pytest.fixture(scope="module")
def rolled(of_rollout: tuple[Watched, str]) -> Watched:
    return of_rollout[0]


@pytest.fixture(scope="module")
def watched(seen: Seen) -> Watched:
    return seen[0]


@pytest.mark.parametrize(("name", "title"), BY_TITLE)
def test_a_panel_has_data_of_every_variant(watched: Watched, rolled: Watched, name: str, title: str) -> None:
    is_rollout = name == "rollout"
    wanted = {"int8"} if is_rollout and title not in BOTH else set(VARIANTS)
    for target in ALL[name][title]["targets"]:
        seen = rolled if is_rollout else watched
        series = seen.run(target)
        assert series, f"empty: {seen.fill(target['expr'])}"
        if "variant" in target["expr"]:
            assert {each["metric"]["variant"] for each in series} == wanted


@pytest.mark.parametrize(("name", "title"), BY_TITLE)
def test_a_legend_is_told_from_the_others(watched: Watched, rolled: Watched, name: str, title: str) -> None:
    panel = ALL[name][title]
    legends = [
        re.sub(r"{{(\w+)}}", lambda label, each=each: each["metric"][label[1]], target["legendFormat"])
        for target in panel["targets"]
        if panel["type"] != "table"
        for each in (rolled if name == "rollout" else watched).run(target)
    ]
    assert len(legends) == len(set(legends))


def test_a_verdict_is_shown_while_it_is_given(rolled: Watched) -> None:
    document = json.loads((FOLDER / "rollout.json").read_text())
    shown = {}
    for annotation in document["annotations"]["list"]:
        query = {"expr": annotation["expr"], "range": True, "instant": False}
        assert rolled.run(query | {"expr": query["expr"].removesuffix(" == 1")})
        shown[annotation["name"]] = bool(rolled.run(query))
    assert shown["Verdict: inconclusive"]
    assert not shown["Verdict: roll back"]


def test_a_wrong_name_would_be_found(watched: Watched) -> None:
    (target,) = CHARTS["Requests"]["targets"]
    assert watched.run(target)
    assert not watched.run(target | {"expr": target["expr"].replace("requests_total", "request_total")})
    with pytest.raises(EngineError, match="bad_data"):
        watched.run(target | {"expr": target["expr"].replace("sum by", "sum of")})


def test_the_variables_find_models_and_variants(watched: Watched) -> None:
    values = {}
    for variable in DOCUMENT["templating"]["list"]:
        if variable["type"] == "query":
            asked = LABEL_VALUES.fullmatch(watched.fill(variable["query"]))
            assert asked is not None, variable["query"]
            values[variable["name"]] = watched.ask(f"label/{asked['label']}/values", **{"match[]": asked["selector"]})
    assert values == {"model": ["bands", "echo", "near"], "variant": list(VARIANTS)}


def test_all_queries_together_and_one_without_data_is_named(watched: Watched) -> None:
    assert "panels have data of echo" in check(DASHBOARD, watched)
    with pytest.raises(EngineError, match="queries without data: Traffic share by reason: "):
        check(DASHBOARD, replace(watched, model="nobody"))


def test_the_numbers_are_those_that_were_sent(seen: Seen) -> None:
    """Three of four labels are right; every variant got one labelled request a round."""
    watched, _, rounds = seen
    share, n = CHARTS["Accuracy of labelled requests since the server started"]["targets"]
    for variant in VARIANTS:
        assert value_of(watched.run(share), variant) == [0.75]
        assert value_of(watched.run(n), variant) == [rounds]
    (served,) = CHARTS["What each variant is"]["targets"]
    rows = {each["metric"]["variant"]: each for each in watched.run(served)}
    assert {name: row["values"] for name, row in rows.items()} == {"baseline": [90], "int8": [10]}
    assert rows["int8"]["metric"]["parent"] == "baseline"
    # A numerator that is never born counts as 0, so these two would not be empty with a wrong name in it.
    (failed,) = CHARTS["Failed share"]["targets"]
    assert 0.1 < max(value_of(watched.run(failed), "int8")) < 0.4  # one in four of the pinned
    (recent,) = CHARTS["Accuracy of labelled requests, last 15 minutes"]["targets"]
    assert value_of(watched.run(recent), "int8")[-1] == pytest.approx(0.75, abs=0.1)


def test_the_shares_of_traffic_are_of_one_whole(watched: Watched) -> None:
    (target,) = CHARTS["Traffic share by reason"]["targets"]
    assert {each["metric"]["reason"] for each in watched.run(target)} == {"pinned", "sticky", "weight"}
    whole = f"sum({watched.fill(target['expr'])})"
    ((_, total),) = (
        each["value"] for each in watched.ask("query", query=whole, time=watched.began + TRAFFIC_S - 2)["result"]
    )
    assert float(total) == pytest.approx(1)


def value_of(series: Series, variant: str) -> list[float]:
    (values,) = (each["values"] for each in series if each["metric"]["variant"] == variant)
    return values


def test_a_table_keeps_the_columns_that_its_rows_have(watched: Watched) -> None:
    """Grafana's transformations name columns by label: what they name has to be in the answer."""
    for panel in (panel for name in ALL for panel in ALL[name].values() if panel["type"] == "table"):
        (organize,) = (step["options"] for step in panel["transformations"] if step["id"] == "organize")
        named = {name for name in organize["renameByName"] if not name.startswith("Value")}
        for target in panel["targets"]:
            for each in watched.run(target):
                assert set(each["metric"]) <= named
        if len(panel["targets"]) == 1:
            assert "Value" in organize["renameByName"]
        else:
            refs = {f"Value #{target['refId']}" for target in panel["targets"]}
            assert refs == set(organize["renameByName"]) - named


def test_prometheus_evaluates_the_alerts(watched: Watched) -> None:
    loaded = [rule for group in watched.ask("rules")["groups"] for rule in group["rules"]]
    committed = [
        rule
        for file in (ALERTS, RECORDING)
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert sorted(rule["name"] for rule in loaded) == sorted(rule.get("alert") or rule["record"] for rule in committed)
    assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}  # unknown: not evaluated yet
    for rule in loaded:
        watched.ask("query", query=rule["query"])


OF_OPINIONS = ("understudy_shadow_lost", "understudy_judged_pairs", "understudy_feedback")
"""Counted only where a comparison fails, or somebody scores answers."""
OF_KEYS = ("understudy_key_requests", "understudy_key_refused", "understudy_key_tokens")
"""Counted only where the stack file has API keys, which this one has not."""


def test_operating_lists_the_labels_that_metrics_have(of_rollout: tuple[Watched, str]) -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    rows = re.findall(r"^\| `(understudy_\w+)` \| (\w+) \| [^|]+ \|([^|]*)\|", text, re.MULTILINE)
    listed = {name.removesuffix("_total"): set(re.findall(r"\w+", labels)) for name, _, labels in rows}
    labels_by_metric: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(of_rollout[1]):
        for sample in family.samples:
            labels_by_metric.setdefault(family.name, set()).update(set(sample.labels) - {"le"})
    for name in set(OF_OPINIONS + OF_KEYS) - set(labels_by_metric):
        del listed[name]
    assert labels_by_metric == listed
