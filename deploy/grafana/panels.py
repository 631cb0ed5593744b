"""The few kinds of panel our dashboards are made of, with everything they share set once.

A variant has the same colour in every chart: colours go by the name in the legend. Rates are over `$__rate_interval`,
which Grafana makes at least four scrapes long. Nothing here knows a metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HEIGHT = 8


@dataclass(frozen=True)
class Line:
    """One PromQL query and the legend of its series, with `{{label}}` for a label's value."""

    query: str
    legend: str = "{{variant}}"


def chart(
    title: str,
    unit: str,
    description: str,
    *lines: Line,
    span: int = 8,
    most: float | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Lines over time from 0 up to `most`; `unit` is Grafana's id of a unit; `span` is of the 24 columns."""
    panel = (
        timeseries.Panel()
        .title(title).description(description).datasource(SOURCE).unit(unit).min(0).span(span).height(HEIGHT)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .legend(legend(common.LegendPlacement.BOTTOM))
        .show_points(common.VisibilityMode.AUTO)
    )  # fmt: skip
    if most is not None:
        panel.max(most)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")).fill_opacity(30)
    for ref, line in zip(ascii_uppercase, lines, strict=False):
        panel.with_target(query(line, ref).range())
    return panel


def states(
    title: str, description: str, line: Line, values: Mapping[int, tuple[str, str]], span: int = 8
) -> statetimeline.Panel:
    """A band a series, coloured by its state over time; `values` give each value its words and its colour."""
    words = {
        str(value): models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(values.items())
    }
    return (
        statetimeline.Panel()
        .title(title).description(description).datasource(SOURCE).unit("short").span(span).height(HEIGHT)
        .mappings([models.ValueMap(options=words)])
        .merge_values(True).show_value(common.VisibilityMode.NEVER)
        .legend(legend(common.LegendPlacement.BOTTOM))
        .with_target(query(line, "A").range())
    )  # fmt: skip


def facts(
    title: str, description: str, columns: Mapping[str, tuple[str, str]], labels: Mapping[str, str], span: int = 24
) -> table.Panel:
    """A table, a row a combination of labels, now.

    `columns` give each column of values its query and unit, `labels` give each label its column's name, in this order.
    Grafana calls the values of the query A `Value #A`, but plainly `Value` where it is the only one.
    """
    refs = dict(zip(columns, ascii_uppercase, strict=False))
    values = {("Value" if len(columns) == 1 else f"Value #{ref}"): name for name, ref in refs.items()}
    names = {**labels, **values}
    panel = (
        table.Panel()
        .title(title).description(description).datasource(SOURCE).unit("short").span(span).height(HEIGHT)
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: index for index, name in enumerate(names)},
                    "renameByName": dict(names),
                },
            )
        )
        .sort_by([common_builders.TableSortByFieldState().display_name(next(iter(names.values())))])
    )  # fmt: skip
    for name, (expression, unit) in columns.items():
        panel.with_target(query(Line(expression, ""), refs[name]).instant().format(PromQueryFormat.TABLE))
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def query(line: Line, ref: str) -> prometheus.Dataquery:
    found = prometheus.Dataquery().expr(line.query).ref_id(ref).datasource(SOURCE)
    return found.legend_format(line.legend) if line.legend else found


def legend(placement: common.LegendPlacement) -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(placement)
        .show_legend(True)
    )
