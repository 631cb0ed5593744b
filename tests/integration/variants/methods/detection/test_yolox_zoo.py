"""YOLOX-nano on 64 COCO photos: the baseline scores what its folder's description says, and int8 loses little.

Photos and weights may not be copied into the project, so they are read where UNDERSTUDY_ZOO says. How much faster int8
is stands in docs/decisions.md: speed is never asserted here.
"""

import numpy as np
import pytest

from serve.config.artifacts import build_stack
from serve.config.loader import load
from serve.config.stack import Stack
from serve.engines.openvino.detector import OpenVinoDetector
from tests.support.processes import ROOT
from tests.support.zoo import zoo
from variants import tasks
from variants.evidence.average_precision import statistic
from variants.home import home
from variants.tasks import Example
from variants.vision.boxes import from_tensors, from_text

pytestmark = [pytest.mark.integration, pytest.mark.zoo]
MAP50, MAP50_95 = 0.507, 0.345
"""As measured with onnxruntime on the same photos, by the folder's description."""


def measured(model: OpenVinoDetector, examples: list[Example]) -> tuple[float, float]:
    """mAP50 and mAP50-95."""
    answers = []
    for example in examples:
        assert isinstance(example.input, bytes)
        boxes = model.find(example.input)
        answers.append(
            from_tensors([box[1:5] for box in boxes], [box.score for box in boxes], [box.label for box in boxes])
        )
    labels = [from_text(example.label) for example in examples]
    once = np.ones(len(examples), np.int64)
    return statistic("mAP50", answers, labels)(once), statistic("mAP50-95", answers, labels)(once)


def test_the_baseline_scores_what_was_published_and_int8_loses_little() -> None:
    weights = zoo("detection/yolox_nano.onnx")
    document = load(ROOT / "deploy" / "stacks" / "yolox.yaml").model_dump(mode="json", by_alias=True)
    document["models"]["yolox"]["source"]["uri"] = str(weights)
    examples = tasks.get("coco96", home()).examples("test")
    assert len(examples) == 64
    assert sum(len(from_text(example.label)) for example in examples) == 437
    scores = {}
    for (_, variant), artifact in build_stack(Stack.model_validate(document)).items():
        model = OpenVinoDetector(artifact.model_path / "model.xml", artifact.manifest, 1)
        if variant == "baseline":
            assert model.executes == "f32"
        scores[variant] = measured(model, examples)
    print(scores)
    for number, published in enumerate((MAP50, MAP50_95)):
        baseline, int8 = scores["baseline"][number], scores["int8"][number]
        assert abs(baseline - published) <= 0.01
        assert baseline - int8 <= 0.02
