"""Outcomes are found again on the same machine, with the same versions, for the same examples; and nowhere else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.variants.artifacts.test_store import keep
from variants.artifacts.catalog import Catalog
from variants.artifacts.outcome_store import Conditions, OutcomeStore
from variants.artifacts.store import Store
from variants.machine import describe
from variants.metrics.outcome import Outcome

HERE = Conditions(describe(), {"torch": "2"}, {"kind": "openvino", "threads": 1}, "12" * 32)
DIGEST = "ab" * 32


def made(*ids: str, answer: str = "a") -> list[Outcome]:
    return [Outcome(each, "a", answer, answer == "a") for each in ids]


def test_what_is_kept_is_found_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    OutcomeStore(tmp_path).keep(DIGEST, "mnist", HERE, made("1", "2", "3"))
    assert OutcomeStore(tmp_path).find(DIGEST, "mnist", HERE, ["3", "1"]) == made("3", "1")
    assert (tmp_path / "outcomes" / DIGEST / "mnist.json").stat().st_size < 2000


def test_an_example_that_was_not_asked_is_not_made_up(tmp_path: Path) -> None:
    kept = OutcomeStore(tmp_path)
    kept.keep(DIGEST, "mnist", HERE, made("1"))
    assert kept.find(DIGEST, "mnist", HERE, ["1", "2"]) is None
    assert kept.find(DIGEST, "r8", HERE, ["1"]) is None
    kept.keep(DIGEST, "mnist", HERE, made("2"))
    assert kept.find(DIGEST, "mnist", HERE, ["1", "2"]) == made("1", "2")


def test_the_name_of_a_task_may_be_a_path(tmp_path: Path) -> None:
    kept = OutcomeStore(tmp_path)
    kept.keep(DIGEST, "lm_eval:../words", HERE, made("1"))
    kept.keep(DIGEST, "lm_eval:/tasks/words", HERE, made("2"))
    assert kept.find(DIGEST, "lm_eval:../words", HERE, ["1"]) == made("1")
    assert kept.find(DIGEST, "lm_eval:../words", HERE, ["2"]) is None
    assert len(list((tmp_path / "outcomes" / DIGEST).glob("*.json"))) == 2


def test_a_second_answer_replaces_the_first(tmp_path: Path) -> None:
    kept = OutcomeStore(tmp_path)
    kept.keep(DIGEST, "mnist", HERE, made("1"))
    kept.keep(DIGEST, "mnist", HERE, made("1", answer="b"))
    assert kept.find(DIGEST, "mnist", HERE, ["1"]) == made("1", answer="b")


@pytest.mark.parametrize(
    "other",
    [
        {"hardware": HERE.hardware.model_copy(update={"cores": 4711})},
        {"versions": {"torch": "3"}},
        {"engine": HERE.engine | {"threads": 2}},
        {"test_sha256": "34" * 32},
    ],
)
def test_answers_of_another_machine_other_versions_another_engine_or_other_data_are_no_pair(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    kept = OutcomeStore(tmp_path)
    kept.keep(DIGEST, "mnist", replace(HERE, **other), made("1"))
    assert kept.find(DIGEST, "mnist", HERE, ["1"]) is None
    kept.keep(DIGEST, "mnist", HERE, made("2"))
    assert kept.find(DIGEST, "mnist", HERE, ["1"]) is None, "what was merged came from elsewhere"


def test_outcomes_go_with_the_cards_of_artifacts_that_no_history_names(tmp_path: Path) -> None:
    store, catalog, kept = Store(tmp_path), Catalog(tmp_path), OutcomeStore(tmp_path)
    manifests = [keep(store).manifest, keep(store, "cd" * 32, "other").manifest]
    for manifest in manifests:
        catalog.record(manifest)
        kept.keep(manifest.digest, "mnist", HERE, made("1"))
    catalog.trim(0)
    left = [kept.find(manifest.digest, "mnist", HERE, ["1"]) for manifest in manifests]
    assert left == [None, made("1")]
