"""The cards that the page of a model shows, and the picture of them."""

from typing import Any

import pytest
from starlette.exceptions import HTTPException

from serve.console.model import COLUMNS, carded_of, chart_of, columns_of, drawn, line
from tests.unit.serve.console.made import model, variant
from tests.unit.serve.control.test_card_beside import EQUAL, PARENT, VARIANT, card
from variants.artifacts.card import Latency
from variants.machine import describe

HERE = describe().model_dump(mode="json")
ELSEWHERE = {**HERE, "cpu": "another"}
LATENCY = Latency(p50=0.02, p95=0.03)


def document(digest: str, **more: Any) -> dict[str, Any]:
    return card(digest, latency_s=LATENCY, **more).model_dump(mode="json", by_alias=True)


def cards(**of_variant: list[dict[str, Any]]) -> dict[str, Any]:
    variants = [{"variant": name, "recipe": {"kind": "lora"}, "cards": given} for name, given in of_variant.items()]
    return {"model": "echo", "variants": variants}


def echo() -> dict[str, Any]:
    variants = variant("baseline", artifact_bytes=3 * 10**6), variant("int8", parent="baseline", artifact_bytes=10**6)
    return {**model("echo", *variants), "machine": HERE}


def test_a_row_is_the_newest_card_of_this_machine() -> None:
    other = document(VARIANT) | {"hardware": ELSEWHERE}
    newest = document(VARIANT, differences=(EQUAL,), parent_digest=PARENT)
    carded = carded_of(cards(baseline=[other], int8=[other, newest, document(VARIANT)]), echo())
    assert [(each.variant, each.colour, each.bytes) for each in carded] == [("int8", 1, 4 * 10**6)]
    assert columns_of(carded)[0].heading == "accuracy,\n95 % interval"
    cells = [column.text(carded[0].row().document, carded[0].row().unit) for column in COLUMNS]
    assert cells[:5] == ["80.0 % (75.0 to 85.0)", "500", "0.0 (−1.0 to +1.0)", "20 ms", "30 ms"]


def test_the_picture_has_a_point_a_variant() -> None:
    carded = carded_of(cards(baseline=[document(PARENT)], int8=[document(VARIANT)]), echo())
    svg = drawn("echo", chart_of(carded))
    assert svg.startswith("<svg")
    assert "baseline" in svg
    assert "int8" in svg
    assert "--variant-1" in svg
    with pytest.raises(HTTPException):
        drawn("echo", chart_of([]))


def test_the_line_of_a_variant_begins_with_its_first_parent() -> None:
    chain = model("echo", variant("a"), variant("b", parent="a"), variant("c", parent="b"))
    assert line(chain, chain["variants"][2]) == ["a", "b", "c"]
    assert line(chain, chain["variants"][0]) == ["a"]
