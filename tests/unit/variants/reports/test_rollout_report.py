"""A rollout's document as Markdown and HTML: the same figures, each with its entry, and nothing of a text is read."""

import re
import warnings
from html.parser import HTMLParser
from typing import Any

import pytest

from variants.reports.rollout_report import as_html, as_markdown, picture, plain

HOSTILE = "by <script>alert(1)</script> | `x`\nand *y*"


def finding(n: int, mean: float) -> dict[str, Any]:
    return {
        "metric": "quality",
        "n": n,
        "value": mean,
        "low": mean - 0.1,
        "high": mean + 0.1,
        "limit": -0.02,
        "state": "open",
    }


def point(number: int) -> dict[str, Any]:
    figures = {
        "n": 100 * number,
        "mean": -0.01,
        "low": -0.5 / number,
        "high": 0.4 / number,
        "limit": -0.02,
        "state": "open",
    }
    at = f"2026-12-01T09:{number:02d}:00.000+00:00"
    return {"seq": 10 + number, "at": at, "decision": "inconclusive", "metrics": {"quality": figures}}


def step(seq: int, minute: int, status: str, verdict: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "seq": seq, "at": f"2026-12-01T09:{minute:02d}:00.000+00:00", "who": "ops", "why": HOSTILE, "step": 10.0,
        "status": status, "weights": {"baseline": 3.0, "int8": 1.0}, "version": 2, "verdict": verdict,
    }  # fmt: skip


def made_document() -> dict[str, Any]:
    """As a server gives it, with parts that only a later one has: coverage and segments."""
    segment = {"name": "language=de", "n": 40, "value": -0.15, "low": -0.2, "high": -0.1, "suspect": True}
    verdict = {
        "decision": "roll back",
        "findings": [finding(700, -0.12)],
        "missing": ["a reason"],
        "segments": [segment],
    }
    return {
        "schema": 1, "id": "r-4", "model": "echo", "variant": "int8", "parent": "baseline", "who": "ops",
        "began": "2026-12-01T09:00:00.000+00:00", "ended": "2026-12-01T09:30:00.000+00:00", "status": "rolled back",
        "step": 10.0, "why": HOSTILE, "digests": {"parent": "a", "variant": "b"},
        "plan": {"variant": "int8", "steps": ["shadow", 10.0], "hold_s": 1.5, "gate": {"quality": 0.02, "alpha": 0.05}},
        "steps": [step(4, 0, "running", None), step(44, 30, "rolled back", verdict)],
        "evidence": [point(number) for number in range(1, 30)],
        "verdict": {"seq": 44, "at": "2026-12-01T09:30:00.000+00:00", **verdict},
        "account": {"seq": 43, "pairs": {"chosen": 800, "lost": {"429": 7}}, "coverage": {"share": 0.75}},
        "left_out": ["7 of 800 chosen pairs: 429"],
        "engines": {"int8": {"artifact_sha256": "b" * 64, "settings": {"kind": "scripted", "context": None}}},
        "machine": {"cpu": "a CPU", "cores": 2}, "versions": {"understudy": "0.1.0"},
        "journal": {"first": 4, "last": 44},
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    return made_document()


class Cells(HTMLParser):
    """The text of every cell and heading, and the names of all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.elements: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag in ("td", "th", "h1", "h2", "li", "p", "dd", "dt"):
            self.text.append("")

    def handle_data(self, data: str) -> None:
        if self.text:
            self.text[-1] += data


SAID = (
    "−12.0 points",
    "−22.0 points to −2.0 points",
    "at least −2.0 points",
    "700",
    "25.0 %",
    "language=de",
    "0.750",
    "429 7",
)


def test_markdown_has_every_part_and_the_entry_of_each_figure(document: dict[str, Any]) -> None:
    text = as_markdown(document)
    for said in SAID:
        assert said in text
    row = next(line for line in text.splitlines() if line.startswith("| quality"))
    assert row.endswith("| 44 |")
    assert next(line for line in text.splitlines() if line.startswith("| pairs")).endswith("| 43 |")
    assert "context" not in text  # a setting that is not set
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) >= 3 for line in tables)


def test_html_has_the_same_and_no_script(document: dict[str, Any]) -> None:
    html = as_html(document)
    cells = Cells()
    cells.feed(html)
    text = "\n".join(cells.text)
    for said in SAID:
        assert said in text
    assert "script" not in cells.elements
    assert {"svg", "table"} <= cells.elements
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_text_of_people_stays_text(document: dict[str, Any]) -> None:
    row = next(
        line for line in as_markdown(document).splitlines() if "rolled back" in line and line.startswith("| 2026")
    )
    assert r"by \<script>alert(1)\</script> \| \`x\` and \*y\*" in row


def test_the_picture_has_line_band_limit_and_decisions(document: dict[str, Any]) -> None:
    svg = str(picture(document))
    assert svg.count("var(--variant-4)") == 1  # the limit
    assert svg.count("var(--variant-0)") >= 2  # the line and the band
    for said in ("quality, points", "minutes since the rollout began", "rolled back"):
        assert said in svg


def test_a_decision_after_the_last_point_is_inside_the_picture(document: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns when there is no room
        assert picture(document | {"evidence": document["evidence"][:9]}) is not None


def test_one_point_makes_no_picture(document: dict[str, Any]) -> None:
    document["evidence"] = document["evidence"][:1]
    assert picture(document) is None
    assert "too few points for a picture" in as_html(document)


def test_a_rollout_of_an_older_server_and_without_a_verdict(document: dict[str, Any]) -> None:
    bare = document | {
        "evidence": [], "verdict": None, "account": None, "left_out": [], "engines": {}, "machine": None,
        "versions": {}, "ended": None, "status": "running", "steps": document["steps"][:1],
    }  # fmt: skip
    for text in (as_markdown(bare), as_html(bare)):
        assert "No verdict was given." in text
        assert "It is running, at the step 10 %" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (1234, "1,234"), (0.00002, "2e-05"), ({"a": [1, 2]}, "a 1, 2"), ([], "–"), ("x", "x")],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert plain(value) == text
