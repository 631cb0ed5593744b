"""The summary has the figures that were put in, and the keys that were promised."""

import json
from pathlib import Path

import pytest

from loadtest.results.records import LineWriter, Record
from loadtest.results.schema import ModelFigures, Summary, VariantFigures
from loadtest.results.summary import summarise
from tests.unit.loadtest.results.made import OPENED, TEXT, make, record
from variants.errors import InputError, IntegrityError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


def model(summary: Summary, name: str) -> ModelFigures:
    return next(each for each in summary.models if each.model == name)


def variant(summary: Summary, model_name: str, name: str) -> VariantFigures:
    return next(each for each in model(summary, model_name).variants if each.variant == name)


def add(folder: Path, *records: Record) -> None:
    with LineWriter[Record](folder / "records.jsonl") as writer:
        for each in records:
            writer.write(each)


def test_every_promised_key_is_there(folder: Path) -> None:
    summarise(folder)
    document = json.loads((folder / "summary.json").read_text())
    assert document["schema"] == 1
    assert document.keys() >= {"machine", "versions", "wall_s", "phases_s", "peak_memory_bytes", "models"}
    assert [each["model"] for each in document["models"]] == ["smollm2", "digits"]
    promised = {
        *("variant", "method", "precision", "parent", "artifact_sha256", "artifact_bytes", "requests", "failed"),
        *("clients", "output_tokens", "slices", "throughput_rps", "output_tokens_per_s", "latency_s", "ttft_s"),
        *("accuracy", "peak_memory_bytes"),
    }
    for each in document["models"]:
        assert each.keys() >= {"model", "task", "variants"}
        for figures in each["variants"]:
            assert figures.keys() >= promised
            assert figures["latency_s"].keys() >= {"p50", "p95", "p99"}
            for accuracy in figures["accuracy"]:
                assert accuracy.keys() == {"task", "metric", "value", "low", "high", "n"}
                assert accuracy["low"] < accuracy["value"] < accuracy["high"]


def test_the_file_is_what_is_returned(folder: Path) -> None:
    summary = summarise(folder)
    assert Summary.model_validate_json((folder / "summary.json").read_text()) == summary


def test_throughput_is_the_median_of_the_slices(folder: Path) -> None:
    int8 = variant(summarise(folder), "smollm2", "int8")
    rates = sorted(each.output_tokens_per_s or 0 for each in int8.slices)
    assert int8.output_tokens_per_s == rates[1]
    assert rates == pytest.approx([236.0] * 3, rel=0.021)
    assert int8.throughput_rps == pytest.approx(rates[1] / 64)
    assert variant(summarise(folder), "digits", "int8").output_tokens_per_s is None
    assert variant(summarise(folder), "digits", "int8").throughput_rps == pytest.approx(418, rel=0.021)


def test_requests_and_failures_are_those_of_all_parts(folder: Path) -> None:
    before = variant(summarise(folder), "smollm2", "nf4")
    assert (before.requests, before.failed) == (200 + 200 + 3 * 16, 0)
    add(
        folder,
        record("smollm2", TEXT[2], part="warm-up", output_tokens=64),
        record("smollm2", TEXT[2], part="speed", slice=0, status=503, error="HTTP 503: busy", variant=None),
        record("smollm2", TEXT[2], part="mixed", variant_asked=None, planned=OPENED, client="client-1"),
    )
    after = variant(summarise(folder), "smollm2", "nf4")
    assert (after.requests, after.failed) == (before.requests + 3, 1)
    assert after.output_tokens == before.output_tokens + 64
    assert after.latency_s == before.latency_s, "neither a failure nor another part's request has a latency here"
    assert after.mixed is not None
    assert (after.mixed.requests, after.mixed.share) == (1, 1.0)


def test_a_routed_request_that_nobody_answered_is_not_lost_from_sight(folder: Path) -> None:
    add(
        folder,
        record(
            "smollm2", TEXT[0], part="mixed", variant_asked=None, variant=None, status=0, error="gone", planned=OPENED
        ),
    )
    summary = summarise(folder)
    assert model(summary, "smollm2").lost == 1
    assert any("1 routed requests failed before any variant answered" in limit for limit in summary.limits)


def test_latency_is_of_requests_that_ended_inside_the_window(folder: Path) -> None:
    before = variant(summarise(folder), "smollm2", "baseline").latency_s
    assert before is not None
    late = record("smollm2", TEXT[0], part="speed", slice=0, started=OPENED + 5.9, latency_s=30.0)
    early = record("smollm2", TEXT[0], part="speed", slice=0, started=OPENED - 31.0, latency_s=30.0)
    add(folder, late, early)
    assert variant(summarise(folder), "smollm2", "baseline").latency_s == before


def test_accuracy_is_right_answers_over_distinct_examples(folder: Path) -> None:
    accuracy = {each.task: each for each in variant(summarise(folder), "smollm2", "baseline").accuracy}
    assert (accuracy["rotten_tomatoes"].value, accuracy["rotten_tomatoes"].n) == (0.8, 200)
    assert (accuracy["r8"].value, accuracy["r8"].n) == (0.63, 200)
    # Wilson's interval for 160 of 200, by hand: (0.80 + 0.0096 -+ 0.0563) / 1.0192
    assert accuracy["rotten_tomatoes"].low == pytest.approx(0.739, abs=0.001)
    assert accuracy["rotten_tomatoes"].high == pytest.approx(0.850, abs=0.001)


def test_a_repeated_example_is_refused(folder: Path) -> None:
    add(folder, record("digits", TEXT[0], task="mnist", example="mnist-0", correct=True))
    with pytest.raises(IntegrityError, match="repeats are not data"):
        summarise(folder)


def test_answers_of_another_build_are_refused(folder: Path) -> None:
    served = f"{TEXT[0].size:064x}"
    add(folder, record("smollm2", TEXT[0], part="warm-up", artifact=served))
    summarise(folder)
    add(folder, record("smollm2", TEXT[0], part="warm-up", artifact="f" * 64))
    with pytest.raises(IntegrityError, match="another build, ffffffff"):
        summarise(folder)


def test_comparisons_are_with_the_parent_in_three_states(folder: Path) -> None:
    comparisons = {each.variant: each for each in model(summarise(folder), "smollm2").comparisons}
    assert comparisons.keys() == {"int8", "nf4"}
    int8, nf4 = comparisons["int8"], comparisons["nf4"]
    assert int8.speed is not None
    assert nf4.speed is not None
    assert (int8.speed.verdict, nf4.speed.verdict) == ("faster", "slower")
    assert int8.speed.median == pytest.approx(236 / 172, rel=0.03)
    assert int8.speed.low <= int8.speed.median <= int8.speed.high
    assert int8.bytes_ratio == pytest.approx(0.606, abs=0.001)
    verdicts = {difference.task: difference.verdict for difference in int8.accuracy}
    assert verdicts == {"r8": "worse", "rotten_tomatoes": "cannot tell"}


def test_what_has_no_parent_is_compared_with_the_baseline(folder: Path) -> None:
    path = folder / "server.json"
    state = json.loads(path.read_text())
    served = {each["model"]: {one["variant"]: one for one in each["variants"]} for each in state["models"]}
    served["smollm2"]["nf4"]["parent"] = None
    served["digits"]["baseline"]["variant"] = "first"
    served["digits"]["bf16"]["parent"] = "first"
    served["digits"]["int8"]["parent"] = None
    path.write_text(json.dumps(state))
    summary = summarise(folder)
    of = lambda name: {(each.variant, each.parent) for each in model(summary, name).comparisons}  # noqa: E731
    assert of("smollm2") == {("int8", "baseline"), ("nf4", "baseline")}
    assert of("digits") == {("bf16", "first")}, "no baseline, no comparison"


def test_the_demos_clock_is_used_where_there_is_one(folder: Path) -> None:
    assert summarise(folder).wall_s == 203.4
    assert summarise(folder).phases_s == {"load": 203.4}
    assert summarise(folder).peak_memory_bytes is None
    phases = {"wall_s": 340.0, "phases_s": {"build": 12.5, "serve": 96.0}, "peak_memory_bytes": 15_000_000_000}
    (folder / "phases.json").write_text(json.dumps(phases))
    summary = summarise(folder)
    assert (summary.wall_s, summary.phases_s, summary.peak_memory_bytes) == tuple(phases.values())


def test_a_cut_last_record_is_left_out_and_said(folder: Path) -> None:
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"part":"mix')
    assert any("was cut (12 bytes)" in limit for limit in summarise(folder).limits)


def test_missing_and_damaged_files_are_named(folder: Path) -> None:
    (folder / "server.json").write_text('{"models": 3}')
    with pytest.raises(IntegrityError, match="damaged"):
        summarise(folder)
    (folder / "server.json").unlink()
    with pytest.raises(InputError, match=r"server\.json is missing"):
        summarise(folder)
