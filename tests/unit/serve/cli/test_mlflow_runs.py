"""What of a card goes to MLflow. `tests/integration/serve/cli/test_mlflow.py` logs it to a real one."""

import importlib.util
from pathlib import Path

import pytest

from serve.cli.mlflow_runs import MlflowRuns, metrics_of, parameters_of, tags_of
from tests.support.recipes import parse_recipe
from tests.unit.serve.study.test_model_card import PARENT, card, manifest
from variants.artifacts.card import Ratio, Speedup
from variants.errors import MissingDependency

RECIPE = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "r8", "examples": 8}}


def test_figures_with_their_bounds_and_their_difference_to_the_parents() -> None:
    half = Ratio(value=2, low=1.5, high=2.5)
    given = card("cd" * 32).model_copy(update={"speedup": Speedup(single=half, saturated=half, rounds=15)})
    metrics = dict(metrics_of(given))
    assert (metrics["r8.accuracy"], metrics["r8.accuracy.low"], metrics["r8.accuracy.high"]) == (0.914, 0.9, 0.93)
    assert metrics["r8.accuracy.less_parent.low"] == -0.011
    assert metrics["wikitext2.perplexity"] == 28.6
    assert metrics["r8.agreement.high"] == 0.99
    assert (metrics["speedup.single"], metrics["speedup.saturated.low"]) == (2, 1.5)
    assert "speedup.inference" not in metrics
    assert (metrics["latency_s.p95"], metrics["throughput_per_s"], metrics["artifact_bytes"]) == (0.044, 61, 163e6)
    assert "load_s" not in metrics, "what was not measured is no metric"


def test_a_task_of_the_harness_is_named_as_mlflow_allows() -> None:
    given = card("cd" * 32)
    figure = given.accuracy[0].model_copy(update={"task": "lm_eval:./tasks/intents"})
    assert "lm_eval_._tasks_intents.accuracy" in dict(metrics_of(given.model_copy(update={"accuracy": (figure,)})))


def test_the_recipe_is_the_parameters(tmp_path: Path) -> None:
    made = manifest(tmp_path).model_copy(update={"recipe": parse_recipe(RECIPE)})
    parameters = dict(parameters_of(made))
    wanted = {"recipe.kind": "quantize", "recipe.scheme": "int8", "recipe.calibration.task": "r8"}
    assert parameters.items() >= (wanted | {"parent": "baseline", "variant": made.variant}).items()
    assert tags_of(made, card(made.digest))["understudy.parent_digest"] == PARENT


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed here")
def test_where_it_is_missing_one_sentence_says_so() -> None:
    with pytest.raises(MissingDependency, match=r"^--mlflow: mlflow is not installed \(pip install mlflow\)$"):
        MlflowRuns("http://127.0.0.1:5000")
