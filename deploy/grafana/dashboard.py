"""Writes the dashboards: `python -m deploy.grafana.dashboard` makes each JSON of `deploy/grafana/dashboards` again.

To import one by hand: in Grafana choose Dashboards, New, Import, upload the JSON, and choose the Prometheus. To let
Grafana load all of them when it starts:

    export GF_PATHS_PROVISIONING=$PWD/deploy/grafana/provisioning UNDERSTUDY_PROMETHEUS=http://127.0.0.1:9090
    export UNDERSTUDY_DASHBOARDS=$PWD/deploy/grafana/dashboards GF_SERVER_HTTP_ADDR=127.0.0.1

One test compares the JSON with this module; another runs every query against a real Prometheus."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana import campaign, capacity, rollout, variants
from deploy.grafana.check import FOLDER
from deploy.grafana.panels import SOURCE, Panel
from deploy.grafana.queries import MODEL


@dataclass(frozen=True)
class Page:
    """One dashboard: its rows of panels by title, and its annotations by name with query and colour."""

    description: str
    rows: Mapping[str, list[Panel]]
    annotations: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def pages() -> dict[str, Page]:
    """By file name without its ending. Builders are used up by building, so each call makes new ones."""
    return {
        "variants": Page(
            "Compares the variants of one model: traffic, speed, failures, accuracy, memory.", variants.rows()
        ),
        "rollout": Page(
            "The evidence of a rollout beside its limits, with its verdicts.", rollout.rows(), rollout.annotations()
        ),
        "capacity": Page("How full the engines are, and how much of the error budget is spent.", capacity.rows()),
        "campaign": Page("What a load campaign did: throughput, latency, errors, accuracy.", campaign.rows()),
    }


def build(name: str, page: Page) -> models.Dashboard:
    """The whole dashboard, with its panels numbered in reading order."""
    dashboard = (
        builders.Dashboard(f"Understudy: {name}")
        .uid(f"understudy-{name}").tags(["understudy"]).time("now-30m", "now").refresh("10s").timezone("browser")
        .description(page.description)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(variables())
    )  # fmt: skip
    for title, (query, colour) in page.annotations.items():
        dashboard.annotation(Annotation(title, query, colour))
    number = 0
    for title, panels in page.rows.items():
        number += 1
        dashboard.with_row(builders.Row(title).id(number))
        for panel in panels:
            number += 1
            dashboard.with_panel(panel.id(number))
    return dashboard.build()


@dataclass(frozen=True)
class Annotation(Builder[models.AnnotationQuery]):
    """Bands where a query has values. The SDK's own builder has no field for a Prometheus query."""

    name: str
    query: str
    colour: str

    def build(self) -> models.AnnotationQuery:
        return models.AnnotationQuery(
            name=self.name, datasource=SOURCE, enable=True, icon_color=self.colour, expr=self.query
        )


def variables() -> list[Builder[models.VariableModel]]:
    """The Prometheus, one of its models, and any of the model's variants."""
    model = builders.QueryVariable("model").label("Model").query("label_values(understudy_variant_info, model)")
    variant = (
        builders.QueryVariable("variant").label("Variants")
        .query(f"label_values(understudy_variant_info{{{MODEL}}}, variant)")
        .multi(True).include_all(True).all_value(".*")
        .current(models.VariableOption(text=["All"], value=["$__all"]))
    )  # fmt: skip
    for variable in (model, variant):
        variable.datasource(SOURCE).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        variable.sort(models.VariableSort.ALPHABETICAL_ASC)
    return [builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"), model, variant]


def texts() -> dict[str, str]:
    """The JSON of each dashboard, by file name."""
    encoder = JSONEncoder(indent=2, sort_keys=True)
    return {f"{name}.json": encoder.encode(build(name, page)) + "\n" for name, page in pages().items()}


if __name__ == "__main__":
    for file, text in texts().items():
        (FOLDER / file).write_text(text)
