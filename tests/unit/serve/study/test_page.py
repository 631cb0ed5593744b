"""The page: every figure in its tables is one of `study.json`, it fetches nothing, and hides no failure."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from serve.study import page, sentences
from serve.study.schema import FILE, Between, Failure, Measure, Study, StudyCard, read_study
from tests.support.study import baseline, card, made_study, perplexity
from variants.artifacts.card import Ratio
from variants.reports.table import as_text


@pytest.fixture
def study() -> Study:
    r8 = {
        "task": "r8", "unit": "share", "better": "higher", "agreement": None, "paired_difference": None,
        "accuracy": {"metric": "macro-F1", "value": 0.88, "low": 0.86, "high": 0.9, "n": 400},
    }  # fmt: skip
    text = {"family": "text-generation", "model": "smollm2", "engine": "vllm"}
    return made_study(
        baseline(others=[r8]),
        card("int8", distances=[{"task": "digit_prompts", "value": 11.53, "n": 500, "real": 1000}]),
        card("zeros", kind="pruned", structured=False, note="<img src=x>", precision="f16", executes="f32"),
        card("pruned", kind="pruned", structured=True),
        card("lora", kind="lora", served_bytes=17_000_000),
        baseline(**text, **perplexity(27.6, None)),
        card("int4", **text, **perplexity(35.9, (8.26, 7.1, 9.5))),
        failed=(Failure(family="text-generation", model="smollm2", variant="nf4", why="the build was killed"),),
        missing=("smollm2@awq",),
    )


class Cells(HTMLParser):
    """Table cells with what they say they are of, and everything a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[tuple[dict[str, str | None], str]] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.fetched += [
            value for name, value in attrs if name in ("src", "href", "srcset") and value and not value.startswith("#")
        ]
        if tag == "td":
            self.cells.append((given, ""))
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            given, text = self.cells[-1]
            self.cells[-1] = (given, text + data)


def written(document: Any, pointer: str, how: str) -> str:
    """What a cell must show: the figure at `pointer` in a study's JSON document."""
    unit = ""
    for part in pointer.strip("/").split("/"):
        if document is None:
            break
        document = document[int(part)] if isinstance(document, list) else document[part]
        unit = document.get("unit", unit) if isinstance(document, dict) else unit
    if isinstance(document, dict):
        kind: type[BaseModel] = {"measure": Measure, "ratio": Ratio, "executed": StudyCard}.get(how, Between)
        document = kind.model_validate(document)
    return as_text(document, how, unit)


def drawn(study: Study, out: Path) -> tuple[str, Cells]:
    text = page.write(study, out).read_text()
    cells = Cells()
    cells.feed(text)
    return text, cells


def test_every_figure_in_a_table_is_one_of_the_studys(study: Study, tmp_path: Path) -> None:
    document = json.loads(study.to_json())
    _, page_read = drawn(study, tmp_path)
    figures = [(given, text) for given, text in page_read.cells if re.search(r"\d", text) and "data-of" in given]
    assert len(figures) > 7 * 10
    for given, text in figures:
        assert written(document, str(given["data-of"]), str(given["data-as"])) == text, given
    names = {card.variant for card in study.cards} | {"mnist", "r8", "wikitext2", "macro-F1", "digit_prompts"}
    assert {text for given, text in page_read.cells if "data-of" not in given} <= names


def test_a_changed_figure_changes_the_page(study: Study, tmp_path: Path) -> None:
    """The check above would not find a cell that names another figure."""
    _, before = drawn(study, tmp_path)
    changed = study.model_copy(update={"cards": (study.cards[0].model_copy(update={"load_s": 7.77}), *study.cards[1:])})
    _, after = drawn(changed, tmp_path)
    different = [
        given["data-of"] for (given, text), (_, other) in zip(before.cells, after.cells, strict=True) if text != other
    ]
    assert different == ["/cards/0/load_s"]


def test_every_card_has_an_anchor_its_recipe_its_digest_and_its_sentence(study: Study, tmp_path: Path) -> None:
    text, page_read = drawn(study, tmp_path)
    assert len(page_read.ids) == len(set(page_read.ids))
    by_name = {(each.model, each.variant): each for each in study.cards}
    for each in study.cards:
        assert f"card-{each.name}" in page_read.ids
        assert each.digest in text
        sentence = sentences.says(each, by_name.get((each.model, each.parent or "")))
        assert f"{each.variant}</a>{sentence.removeprefix(each.variant)}</li>" in text.replace("&#39;", "'")
    assert text.count("nncf-static-int8/1") == len(study.cards)


def test_the_page_is_one_file_that_fetches_nothing(study: Study, tmp_path: Path) -> None:
    text, page_read = drawn(study, tmp_path)
    assert page_read.fetched == []
    assert "script" not in page_read.tags
    assert "<img" not in text
    assert "@import" not in text
    assert page_read.tags.count("svg") == 2
    references = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text))
    assert references <= set(page_read.ids)


def test_what_failed_and_what_is_missing_stands_at_the_top(study: Study, tmp_path: Path) -> None:
    text, _ = drawn(study, tmp_path)
    top = text[: text.index("<section")]
    assert "smollm2@nf4 has no card: the build was killed" in top
    assert "smollm2@awq" in top


def test_study_json_is_what_is_promised(study: Study, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(study.to_json())
    document = json.loads((tmp_path / FILE).read_text())
    assert document["schema"] == 1
    assert {"machine", "versions", "cards"} <= set(document)
    first, second = document["cards"][:2]
    assert list(second)[:12] == [
        "family", "model", "variant", "kind", "structured", "precision", "artifact_bytes", "accuracy",
        "paired_difference", "latency_s", "throughput_per_s", "peak_memory_bytes",
    ]  # fmt: skip
    assert set(second["accuracy"]) == {"metric", "value", "low", "high", "n"}
    assert set(second["paired_difference"]) == {"value", "low", "high"}
    assert set(second["latency_s"]) == {"p50", "p95"}
    assert first["paired_difference"] is None
    assert read_study(tmp_path) == study
