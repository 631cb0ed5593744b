"""The kinds of panel of our dashboards, with their common settings.

A variant has the same colour in every chart, because colours go by the name in the legend. Rates are over
`$__rate_interval`, which Grafana makes at least four scrape intervals long. This module knows no metric.
"""

from collections.abc import Mapping, Sequence
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
EMPTY = "Nothing in this time range: choose a longer one, another model, or send requests"
"""What a panel says while its queries give nothing."""
Panel = timeseries.Panel | statetimeline.Panel | table.Panel


@dataclass(frozen=True)
class Line:
    """One PromQL query and the legend of its series, where `{{label}}` stands for a label's value."""

    query: str
    legend: str = "{{variant}}"


def chart(
    title: str,
    unit: str,
    description: str,
    *lines: Line,
    span: int = 8,
    least: float | None = 0,
    most: float | None = None,
    stacked: bool = False,
    empty: str = EMPTY,
) -> timeseries.Panel:
    """Lines over time, from `least` up to `most`. `unit` is Grafana's id of a unit. `span` is the width, of 24
    columns. `empty` is what the panel says without data."""
    panel = (
        timeseries.Panel()
        .title(title).description(description).datasource(SOURCE).unit(unit).no_value(empty).span(span).height(HEIGHT)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .legend(legend())
        .show_points(common.VisibilityMode.AUTO)
    )  # fmt: skip
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")).fill_opacity(30)
    for ref, line in zip(ascii_uppercase, lines, strict=False):
        panel.with_target(query(line, ref).range())
    return panel


def states(
    title: str, description: str, line: Line, values: Mapping[int, tuple[str, str]], span: int = 8, empty: str = EMPTY
) -> statetimeline.Panel:
    """A band for each series, coloured by its state over time. `values` gives the text and the colour of each value."""
    words = {
        str(value): models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(values.items())
    }
    return (
        statetimeline.Panel()
        .title(title).description(description).datasource(SOURCE).unit("short").no_value(empty).span(span).height(HEIGHT)
        .mappings([models.ValueMap(options=words)])
        .merge_values(True).show_value(common.VisibilityMode.NEVER)
        .legend(legend())
        .with_target(query(line, "A").range())
    )  # fmt: skip


def facts(
    title: str, description: str, columns: Mapping[str, tuple[str, str]], labels: Sequence[str], span: int = 24
) -> table.Panel:
    """A table of the present values, with a row for each combination of `labels`, which are its first columns.

    `columns` gives the query and the unit of each column of values. Grafana calls the values of the query A `Value #A`,
    but only `Value` if the table has no other query.
    """
    refs = dict(zip(columns, ascii_uppercase, strict=False))
    values = {("Value" if len(columns) == 1 else f"Value #{ref}"): name for name, ref in refs.items()}
    names = {label: label for label in labels} | values
    panel = (
        table.Panel()
        .title(title).description(description).datasource(SOURCE).unit("short").no_value(EMPTY).span(span).height(HEIGHT)
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: index for index, name in enumerate(names)},
                    "renameByName": names,
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
    target = prometheus.Dataquery().expr(line.query).ref_id(ref).datasource(SOURCE)
    return target.legend_format(line.legend) if line.legend else target


def legend() -> common_builders.VizLegendOptions:
    options = common_builders.VizLegendOptions().display_mode(common.LegendDisplayMode.LIST).show_legend(True)
    return options.placement(common.LegendPlacement.BOTTOM)
