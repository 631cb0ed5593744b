"""Object detectors from the Hugging Face hub (AutoModelForObjectDetection: YOLOS, DETR, RT-DETR) as OpenVINO IR.

They answer by queries, and the number of logits tells how these are decoded (`variants.vision.detector`). One logit
more than labels is a softmax over the labels and "nothing". As many logits as labels are a sigmoid each.

The IR is for one image of one size. It takes pixels of 0 to 1 and normalises them itself, by the mean and standard
deviation of the image processor. It takes no mask: where an image keeps its proportions, a model that was trained with
a mask (DETR) sees grey at the image's edges.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection.network import NAMES
from variants.methods.huggingface import REPORTED, check_weights, labels_of, reading
from variants.methods.openvino_ir import IR, write_ir
from variants.recipes.recipe import DetectorBaseline
from variants.vision.detector import Detector

if TYPE_CHECKING:
    import openvino as ov
    from torch import nn
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers", "openvino")
_MOST = 1000
Size = tuple[int, int]


def baseline(job: BuildJob[DetectorBaseline]) -> MethodResult:
    """The detector of a Hugging Face folder for one image at a time, executed in float32. SourceError when transformers
    cannot read it. RecipeError when neither recipe nor folder gives an image size, or it does not convert."""
    assert job.source is not None
    if job.source.is_file():
        mend = "say how its images are prepared and what its output means: detector and labels"
        raise RecipeError(f"{job.source.name} is one file, no Hugging Face folder", field="recipe.detector", mend=mend)
    with job.progress.step(f"reading {job.source.name}"):
        settings = read_settings(job.source)
        size = job.recipe.image_size or fixed_size(settings)
        if size is None:
            raise RecipeError(
                f"the folder's images come in no one size ({settings.get('size')}), and the engine serves one",
                field="recipe.image_size",
                mend="height and width, e.g. [512, 672]: images keep their proportions",
            )
        model = load(job.source)
    with job.progress.step("converting to OpenVINO"):
        converted = convert(model, settings, size)
        labels = labels_of(model)
        detector = describe(list(converted.outputs[0].shape), len(labels), settings, size)
        write_ir(converted, job.out, NAMES)
    note = f"{model.config.model_type} as published, for images of {size[0]} x {size[1]}"
    return MethodResult("f32", "openvino", note, PACKAGES, labels, None, IR, detector)


def load(folder: Path) -> "PreTrainedModel":
    """The detector in a folder, in float32 and evaluation mode. SourceError where transformers cannot read it, or
    weights are missing."""
    import torch
    from transformers import AutoModelForObjectDetection

    with reading(folder, "a detector"):
        model, report = AutoModelForObjectDetection.from_pretrained(folder, dtype=torch.float32, **REPORTED)
    check_weights(folder, model, report)
    detector: PreTrainedModel = model.eval()
    return detector


def describe(shape: list[int], labels: int, settings: dict[str, Any], size: Size) -> Detector:
    """How images are prepared and predictions decoded. `shape` is that of the predictions: [1, queries, 4 + logits].
    SourceError where the number of logits fits no decoder."""
    _, queries, width = shape
    decoders = {labels + 1: "detr", labels: "detr-focal"}
    if width - 4 not in decoders:
        raise SourceError(
            f"{width - 4} logits a query for {labels} labels", field="source.uri", mend="another detector"
        )
    white = _white(settings)
    mean, _ = _normalisation(settings)
    return Detector.model_validate(
        {
            "decoder": decoders[width - 4],
            "size": size,
            "pad": round(white * sum(mean) / 3, 1),
            "std": white,
            "overlap": 1.0,
            "most": min(queries, _MOST),
            "fit": "stretch" if fixed_size(settings) else "proportions",
        }
    )


def convert(model: "PreTrainedModel", settings: dict[str, Any], size: Size) -> "ov.Model":
    """`model` as IR: pixels [1, 3, height, width] of 0 to 1 in, predictions [1, queries, 4 + logits] out. RecipeError
    when it does not convert at that size."""
    import openvino as ov
    import torch

    shape = [1, 3, *size]
    try:
        with torch.no_grad():
            return ov.convert_model(_of_pixels(model, settings), example_input=torch.zeros(shape), input=[shape])
    except Exception as error:  # torch's tracing and OpenVINO's conversion may raise anything
        reason = str(error).strip().splitlines()[0]
        raise RecipeError(
            f"OpenVINO does not convert {model.config.model_type} at {size[0]} x {size[1]}: {reason}",
            field="recipe.image_size",
            mend="a multiple of its largest stride or of its patches; else another architecture",
        ) from error


def _of_pixels(model: "PreTrainedModel", settings: dict[str, Any]) -> "nn.Module":
    import torch

    mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in _normalisation(settings))

    class Predictions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            output = self.inner((pixels - mean) / deviation)
            return torch.cat([output.pred_boxes, output.logits], dim=-1)

    return Predictions().eval()


def read_settings(folder: Path) -> dict[str, Any]:
    """The image processor's settings as they are in the file: transformers' own reader needs torchvision.
    SourceError where they are missing or not readable."""
    path = folder / "preprocessor_config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_bytes())
        _normalisation(settings)
        fixed_size(settings)
        _white(settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise SourceError(f"{path} is missing or not readable: {error!r}", field="source.uri") from error
    return settings


def _white(settings: dict[str, Any]) -> float:
    """The value of a white pixel before it is scaled to 0 to 1."""
    return 1 / settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0


def _normalisation(settings: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation, three numbers each."""
    if not settings.get("do_normalize", True):
        return [0.0] * 3, [1.0] * 3
    return [float(value) for value in settings["image_mean"]], [float(value) for value in settings["image_std"]]


def fixed_size(settings: dict[str, Any]) -> Size | None:
    """Height and width to which the image processor stretches all images; None where they keep their proportions."""
    size = settings.get("size")
    if not isinstance(size, dict) or not {"height", "width"} <= size.keys():
        return None
    return int(size["height"]), int(size["width"])
