"""Real photographs: the published accuracies come out of our baselines, and int8 loses next to nothing.

The photographs may not be copied into the project, so they are read where UNDERSTUDY_ZOO says. Through the model that
the engine serves, in the precision that it executes.
"""

import numpy as np
import pytest

from serve.config.artifacts import build_stack
from serve.config.loader import load, only
from serve.engines.openvino.image_classifier import OpenVinoModel
from tests.support.processes import ROOT
from tests.support.zoo import zoo
from variants import tasks
from variants.artifacts.store import Artifact
from variants.metrics.scoring import is_correct
from variants.tasks import Example
from variants.tasks.imagenet import SETTING
from variants.vision.preprocess import pixels_of

pytestmark = [pytest.mark.integration, pytest.mark.zoo]
PUBLISHED = {"efficientnet-lite0": 0.876, "mobilenet-v2": 0.818}
BATCH = 10


def shares(artifact: Artifact, examples: list[Example]) -> tuple[float, float]:
    """Top-1 and top-5."""
    preprocess = artifact.manifest.preprocess
    assert preprocess is not None
    model = OpenVinoModel(artifact.model_path / "model.xml", artifact.manifest, 1)
    first = five = 0
    for start in range(0, len(examples), BATCH):
        part = examples[start : start + BATCH]
        pixels = np.stack([pixels_of(example.input, preprocess) for example in part])  # type: ignore[arg-type]
        for scores, example in zip(model.predict(pixels), part, strict=True):
            best = [model.labels[index] for index in np.argsort(-scores)[:5]]
            first += best[0] == example.label
            five += is_correct("ranked", "\n".join(best), example.label)
    return first / len(examples), five / len(examples)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_int8_is_as_good_as_the_baseline_which_is_as_good_as_published(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, str(zoo("imagenet500/0000_n01440764_tench.jpg").parent))
    alone = only(load(ROOT / "deploy" / "stacks" / "imagenet.yaml"), name, "baseline", "int8")
    examples = tasks.get("imagenet").examples("test")
    assert len(examples) == 450
    assert len(tasks.get("imagenet").examples("calibration")) == 50
    measured = {variant: shares(artifact, examples) for (_, variant), artifact in build_stack(alone).items()}
    print(measured)
    assert abs(measured["baseline"][0] - PUBLISHED[name]) < 0.0045, "two photographs"
    for number, metric in enumerate(("top-1", "top-5")):
        assert 100 * (measured["baseline"][number] - measured["int8"][number]) <= 1.5, metric
    assert measured["baseline"][1] > measured["baseline"][0]
