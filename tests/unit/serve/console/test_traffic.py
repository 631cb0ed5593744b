"""The form of a model's traffic and the document that it makes."""

import pytest

from serve.config.traffic import Traffic
from serve.console.traffic import document_of, fields_of, history_of, pins_in
from variants.errors import InputError

THIRDS = Traffic(weights={"a": 1, "b": 1, "c": 1}, pins={"x=y": "b"}, shadows={"c": 0.2}, sticky=False)


def fields(traffic: Traffic) -> dict[str, str]:
    return fields_of({"traffic": traffic.model_dump(mode="json"), "shares": traffic.shares, "version": 4})


def test_an_untouched_form_changes_nothing() -> None:
    form = fields(THIRDS)
    assert (form["share-a"], form["shadow-c"], form["pins"]) == ("33.33", "20", "x=y = b")
    assert Traffic.model_validate(document_of(form, THIRDS)) == THIRDS


def test_changed_fields_are_the_document() -> None:
    form = fields(THIRDS) | {"share-a": "50", "share-b": "50 ", "share-c": "0", "shadow-c": "", "pins": ""}
    document = document_of(form, THIRDS)
    assert document == {"weights": {"a": 50, "b": 50, "c": 0}, "shadows": {}, "pins": {}, "sticky": False}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share-a": "34"}, "add up to 100.66 and not to 100"),
        ({"share-a": "-1"}, "share of a"),
        ({"share-a": "nan"}, "share of a"),
        ({"share-a": "many"}, "share of a"),
        ({"shadow-c": "101"}, "shadow of c"),
        ({"pins": "alice"}, "client = variant"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(change: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        document_of(fields(THIRDS) | change, THIRDS)


def test_pins_are_one_a_line() -> None:
    assert pins_in(" alice = int8 \n\nbob=baseline\n") == {"alice": "int8", "bob": "baseline"}


def test_the_history_has_the_decisions_on_the_model_the_latest_first() -> None:
    at = "2026-12-01T09:00:00.000+00:00"
    entries = [
        {"seq": 1, "at": at, "kind": "traffic", "model": "echo", "who": "ops", "why": "first",
         "traffic": {"weights": {"a": 3, "b": 1}}},
        {"seq": 2, "at": at, "kind": "outcomes", "models": {}},
        {"seq": 3, "at": at, "kind": "traffic", "model": "near"},
        {"seq": 4, "at": at, "kind": "rollout", "model": "echo", "who": "evidence", "why": "the gate was passed"},
    ]  # fmt: skip
    history = history_of("echo", entries)
    assert [(each["seq"], each["who"], each["shares"]) for each in history] == [
        (4, "evidence", ""),
        (1, "ops", "a 75.0 %, b 25.0 %"),
    ]
