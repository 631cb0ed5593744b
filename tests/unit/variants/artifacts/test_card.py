"""Cards: those of yesterday are read, and a figure need not be a share."""

import json

import pytest
from pydantic import ValidationError

from variants.artifacts.card import Accuracy, Card

OLD = {
    "schema": 1, "digest": "ab" * 32, "precision": "int8", "versions": {"torch": "2.13.0"}, "artifact_bytes": 9,
    "hardware": {
        "cpu": "x", "architecture": "x86_64", "cores": 2, "memory_bytes": 9, "flags": [], "os": "Linux",
        "python": "3.11",
    },
    "accuracy": [{"task": "mnist", "value": 0.9, "low": 0.8, "high": 0.95, "n": 100}],
    "latency_s": {"p50": 0.1, "p95": 0.2}, "throughput_per_s": 4.2, "inference_per_s": None, "peak_memory_bytes": 7,
    "measured_by": "a test", "created": "2026-11-24T10:00:00Z",
}  # fmt: skip


def test_a_card_of_schema_1_is_read_and_says_what_it_does_not_know() -> None:
    card = Card.from_json(json.dumps(OLD), "old")
    assert card.accuracy[0].metric == "accuracy"
    assert (card.schema_, card.differences, card.agreement, card.cost_cpu_s, card.load_s) == (1, (), (), None, None)
    assert json.loads(card.to_json())["schema"] == 1


def test_a_figure_says_which_harness_measured_it_and_others_stay_as_they_were() -> None:
    own = Accuracy(task="mnist", value=0.9, low=0.8, high=0.95, n=100)
    assert "harness" not in own.model_dump(mode="json")
    harness = {"version": "0.4.13", "task_version": "1", "definition_sha256": "ab" * 32}
    theirs = Accuracy.model_validate(own.model_dump() | {"task": "lm_eval:arc_easy", "harness": harness})
    assert Accuracy.model_validate_json(theirs.model_dump_json()).model_dump()["harness"] == harness


def test_a_figure_may_be_no_share() -> None:
    accuracy = Accuracy(
        task="wikitext2", metric="perplexity", unit="", better="lower", value=27.6, low=26, high=29, n=8
    )
    assert accuracy.value == 27.6
    for wrong in ({"unit": "share"}, {"low": 28}):
        with pytest.raises(ValidationError):
            Accuracy.model_validate(accuracy.model_dump() | wrong)
