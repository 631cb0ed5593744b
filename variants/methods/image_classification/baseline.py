"""Image classifiers as their authors publish them: a Hugging Face folder, or a state dict with its ImageNet head.

The names of a state dict's tensors tell its architecture, so a recipe need not. Images are prepared as for the
published accuracies: the shorter side becomes 256 pixels, then 224 x 224 from the middle, bilinear.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from variants.errors import SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.image_classification import efficientnet_lite0, state_dict
from variants.methods.image_classification.model import PACKAGES, of_folder, save
from variants.methods.openvino_ir import IR, check_float32
from variants.recipes.recipe import Baseline
from variants.tasks.imagenet import LABELS
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn

SIDE, SHORT_SIDE = 224, 256


@dataclass(frozen=True)
class Architecture:
    """`mark` is the name of a tensor that no other architecture here has."""

    name: str
    mark: str
    blank: "Callable[[], nn.Module]"
    preprocess: Preprocess
    packages: tuple[str, ...] = ()


def _mobilenet2() -> "nn.Module":
    from variants.methods.image_classification.mobilenet_v2 import MobileNetV2

    return MobileNetV2(len(LABELS))


ARCHITECTURES = (
    Architecture(
        "EfficientNet-Lite0",
        "_conv_stem.weight",
        lambda: efficientnet_lite0.blank(SIDE),
        efficientnet_lite0.preprocess(SIDE).model_copy(update={"short_side": SHORT_SIDE}),
        (efficientnet_lite0.PACKAGE,),
    ),
    Architecture(
        "MobileNetV2",
        "features.18.0.weight",
        _mobilenet2,
        Preprocess(
            size=(SIDE, SIDE),
            mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
            std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
            short_side=SHORT_SIDE,
        ),
    ),
)


def baseline(job: BuildJob[Baseline]) -> MethodResult:
    """A Hugging Face folder or a state dict as an IR that is executed in float32. RecipeError for another dtype."""
    assert job.source is not None
    check_float32(job.recipe, "an image baseline")
    return of_state_dict(job, job.source) if job.source.is_file() else of_folder(job, job.source)


def of_state_dict(job: BuildJob, weights: Path) -> MethodResult:
    """A state dict as an IR with its ImageNet head."""
    with job.progress.step(f"reading {weights.name}"):
        model, architecture = load(weights)
    with job.progress.step("converting to OpenVINO"):
        save(model, architecture.preprocess, job.out)
    note = f"{architecture.name} with its ImageNet head, weights as published"
    return MethodResult(
        "f32", "openvino", note, (*PACKAGES, *architecture.packages), LABELS, architecture.preprocess, IR
    )


def load(weights: Path) -> "tuple[nn.Module, Architecture]":
    """The model of a state dict, in evaluation mode, and its architecture. SourceError when that is not known here."""
    known = " or ".join(architecture.name for architecture in ARCHITECTURES)
    tensors = state_dict.read(weights, known)
    for architecture in ARCHITECTURES:
        if architecture.mark in tensors:
            model = architecture.blank()
            state_dict.fill(model, tensors, weights, architecture.name)
            return model.eval(), architecture
    mend = "a Hugging Face folder, or a recipe of kind train"
    raise SourceError(f"{weights.name} holds neither {known.replace(' or ', ' nor ')}", field="source.uri", mend=mend)
