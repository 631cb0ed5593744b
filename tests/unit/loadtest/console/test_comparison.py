"""Two runs side by side: the same figures as their reports, their ratios, and what makes them unlike."""

from pathlib import Path

import pytest

from loadtest.console.comparison import compare
from loadtest.results.schema import Summary
from loadtest.results.summary import summarise
from tests.unit.loadtest.results.made import make
from variants.reports.table import value_at


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    make(tmp_path)
    return summarise(tmp_path)


def slower(summary: Summary, factor: float) -> Summary:
    """The run with each throughput lowered by `factor`."""
    models = [
        model.model_copy(
            update={
                "variants": tuple(
                    each.model_copy(update={"throughput_rps": (each.throughput_rps or 0) * factor})
                    for each in model.variants
                )
            }
        )
        for model in summary.models
    ]
    return summary.model_copy(update={"models": tuple(models)})


def test_each_variant_stands_twice_in_its_colour_with_the_ratio_beside(summary: Summary) -> None:
    compared = compare(summary, slower(summary, 0.5))
    assert [model.name for model in compared.models] == ["smollm2", "digits"]
    assert (compared.warnings, compared.only) == ([], [])
    columns, rows = compared.models[0].figures
    assert [row.name for row in rows[:2]] == ["baseline, first", "baseline, second"]
    assert rows[0].colour == rows[1].colour == 0
    assert columns[3].text(rows[0].document) == "171"
    shown, ratios = compared.models[0].ratios
    assert [row.name for row in ratios] == ["baseline", "int8", "nf4"]
    assert {value_at(row.document, "/throughput_rps") for row in ratios} == {0.5}
    assert {value_at(row.document, "/latency_s/p50") for row in ratios} == {1.0}
    assert all(column.text(ratios[0].document) != "–" for column in shown)
    assert [model.panels for model in compared.models] == [(2, 2), (1, 1)]


def test_columns_that_no_run_measured_are_left_out(summary: Summary) -> None:
    columns, _ = compare(summary, summary).models[0].figures
    assert not any("mixed" in column.path for column in columns)


def test_what_makes_two_runs_unlike_is_told(summary: Summary) -> None:
    text, digits = summary.models
    rebuilt = digits.variants[1].model_copy(update={"artifact_sha256": "f" * 64})
    other = summary.model_copy(
        update={
            "campaign": "shadow",
            "machine": {"cores": 4},
            "versions": summary.versions | {"vllm": "0.33.0"},
            "models": (digits.model_copy(update={"variants": (digits.variants[0], rebuilt)}),),
        }
    )
    compared = compare(summary, other)
    assert compared.only == [text.model]
    assert compared.warnings == [
        "The campaigns differ: demo and shadow.",
        "The machines differ, so times cannot be compared.",
        "Versions differ: vllm.",
        "digits: bf16 got another build between the runs.",
    ]
    _, rows = compared.models[0].figures
    assert [row.name for row in rows if row.name.startswith("int8")] == ["int8, first"]
    assert [row.name for row in compared.models[0].ratios[1]] == ["baseline", "bf16"]
