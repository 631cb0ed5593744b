"""Table and report: the same figures, within the terminal's width, and without the network."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from loadtest.results.page import write
from loadtest.results.plots import pareto
from loadtest.results.schema import Summary
from loadtest.results.summary import summarise
from loadtest.results.table import render
from tests.unit.loadtest.results.made import TEXT, make, record
from tests.unit.loadtest.results.test_summary import add
from variants.reports import formats
from variants.reports.page import standalone


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    make(tmp_path)
    return summarise(tmp_path)


def shown(summary: Summary, width: int) -> str:
    console = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    render(summary, console)
    return console.export_text()


@pytest.mark.parametrize("width", [100, 120])
def test_the_table_fits_and_nothing_in_it_is_cut(summary: Summary, width: int) -> None:
    text = shown(summary, width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_the_table_has_a_row_a_variant_with_its_figures(summary: Summary) -> None:
    text = shown(summary, 100)
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(("baseline", "bf16", "int8", "nf4"))]
    assert [row[0] for row in rows] == ["baseline", "int8", "nf4"] * 2 + ["baseline", "bf16", "int8"] * 2
    int8 = next(row for row in rows if row[0] == "int8")
    figures = summary.models[0].variants[1]
    assert int8[1:3] == ["448", "0"]
    assert int8[3] == formats.number(figures.throughput_rps or 0)
    assert int8[4] == formats.number(figures.output_tokens_per_s or 0)
    assert "78.5 % (72.3 to 83.6)" in text
    assert "163 MB" in text
    assert "n 1,000, 95 % interval" in text
    assert "int8 against baseline: faster" in " ".join(text.split())


class Page(HTMLParser):
    """Collects what a browser would fetch, and every id."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset") and value and not value.startswith("#"):
                self.fetched.append(value)
            if name == "id" and value:
                self.ids.append(value)


def test_the_report_is_one_file_that_fetches_nothing(summary: Summary, tmp_path: Path) -> None:
    text = write(summary, tmp_path).read_text()
    page = Page()
    page.feed(text)
    assert page.fetched == []
    assert "script" not in page.tags
    assert "@import" not in text
    assert all(match.startswith("#") for match in re.findall(r"url\(([^)]*)\)", text))
    assert page.tags.count("svg") == 4, "a Pareto plot and the slices of each model"
    assert len(page.ids) == len(set(page.ids))
    references = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text))
    assert references <= set(page.ids)


def test_the_report_follows_light_and_dark(summary: Summary, tmp_path: Path) -> None:
    text = write(summary, tmp_path).read_text()
    assert "prefers-color-scheme: dark" in text
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    for picture in pictures:
        assert "var(--ink)" in picture
        fixed = set(re.findall(r"#[0-9a-f]{6}\b", picture))
        assert fixed == set(), "every colour is one of the page's"


def test_the_report_has_every_figure_of_the_table(summary: Summary, tmp_path: Path) -> None:
    text = write(summary, tmp_path).read_text()
    for each in (variant for model in summary.models for variant in model.variants):
        assert formats.number(each.throughput_rps or 0) in text
        assert formats.seconds(each.latency_s.p99) in text
        assert all(formats.measure(accuracy, "share") in text for accuracy in each.accuracy)
        assert each.artifact_sha256 in text
    for sentence in (*summary.models[0].says, *summary.limits):
        assert sentence in text


def test_names_from_the_server_are_escaped(tmp_path: Path) -> None:
    make(tmp_path)
    state = (tmp_path / "server.json").read_text()
    (tmp_path / "server.json").write_text(state.replace("x86-64, AVX-512", "<img src=x>"))
    text = write(summarise(tmp_path), tmp_path).read_text()
    assert "<img" not in text
    assert "&lt;img" in text


def test_a_campaign_without_speed_or_accuracy_is_shown_too(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "records.jsonl").unlink()
    (tmp_path / "slices.jsonl").write_text("")
    for made in TEXT:
        add(tmp_path, record("smollm2", made, part="mixed", variant_asked=None, planned=1.0))
    summary = summarise(tmp_path)
    assert [model.model for model in summary.models] == ["smollm2"]
    text = shown(summary, 100)
    assert "baseline" in text
    assert "Routed by weight" in write(summary, tmp_path).read_text()


def test_the_picture_is_a_file_of_its_own_in_the_colours_of_the_page(summary: Summary) -> None:
    plot = pareto(summary.models[0])
    assert plot is not None
    text = standalone(plot)
    root = ElementTree.fromstring(text)  # noqa: S314 - written here
    assert root.tag.endswith("svg")
    for name in set(re.findall(r"var\((--[\w-]+)\)", text)):
        assert f"{name}: #" in text, name
