"""A small detector in torch: seven 3 x 3 convolutions, the first three of stride 2, then one 1 x 1 convolution.

At every place it says how likely the middle of an object of each class is there, and how far the object's box reaches.
It has one scale and no anchors (Tian et al. 2019, arXiv 1904.01355; Zhou et al. 2019, arXiv 1904.07850).

It is one plain sequence, so the shapes of its stored weights are its widths. A pruned one can be built again from its
weights alone. The IR takes `pixels`, float32 [1, 3, height, width], and returns `predictions` in the layout of
`centernet` in `variants.vision.detector`. The engine decodes them and drops duplicate boxes, for every variant alike.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from variants.artifacts.store import Artifact
from variants.errors import RecipeError
from variants.methods.openvino_ir import write_ir
from variants.recipes.recipe import Prune, TrainDetector
from variants.vision.detector import Detector

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("torch", "openvino", "safetensors")
WEIGHTS = "model.safetensors"
NAMES = ("pixels", "predictions")  # of the IR's input and output, for every detector
STRIDE = 8
_STRIDED = 3  # layers of stride 2
_LAYERS = 7
_SIDES = 4
_PRIOR = -2.2  # the logit of 0.1, so that training does not begin by unlearning objects everywhere


def widths_for(width: int) -> tuple[int, ...]:
    """Channels of each layer, multiples of 8: few where the image is large, `width` after three strides."""
    grown = [max(8, round(width * share / 8) * 8) for share in (1 / 6, 1 / 3, 2 / 3)]
    return (*grown, *[width] * (_LAYERS - len(grown)))


def describe(side: int) -> Detector:
    """How images of `side` x `side` pixels are prepared, and how the output is decoded."""
    return Detector(decoder="centernet", size=(side, side), strides=(STRIDE,), least=0.05)


def blank(widths: Sequence[int], classes: int) -> "nn.Sequential":
    """The network with weights drawn from torch's generator: [b, 3, h, w] to [b, classes + 4, h / 8, w / 8]."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for at, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
        stride = 2 if at < _STRIDED else 1
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    head = nn.Conv2d(widths[-1], classes + _SIDES, 1)
    assert head.bias is not None
    with torch.no_grad():
        head.bias[:classes] = _PRIOR
        head.bias[classes:] = 1.0
    return nn.Sequential(*layers, head)


def of_artifact(artifact: Artifact | None) -> "tuple[nn.Sequential, Artifact]":
    """The network of an artifact, in evaluation mode, and the artifact. RecipeError when there is none, or it holds
    another network."""
    known = artifact is not None and isinstance(artifact.manifest.recipe, TrainDetector | Prune)
    if artifact is None or not known or not (artifact.model_path / WEIGHTS).is_file():
        mend = "a variant whose recipe trains a detector here"
        raise RecipeError("needs a detector that was trained here", field="parent", mend=mend)
    return read(artifact.model_path / WEIGHTS), artifact


def read(weights: Path) -> "nn.Sequential":
    """The network that a safetensors file holds, of any widths, in evaluation mode."""
    from safetensors.torch import load_file

    tensors = load_file(weights)
    names = sorted(tensors, key=lambda name: int(name.partition(".")[0]))
    shapes = [tensors[name].shape for name in names if tensors[name].ndim == 4]
    model = blank([shape[0] for shape in shapes[:-1]], shapes[-1][0] - _SIDES)
    model.load_state_dict(tensors)
    return model.eval()


def save(model: "nn.Sequential", detector: Detector, out: Path) -> None:
    """Write `model` as IR and as safetensors below `out`."""
    import openvino as ov
    import torch
    from safetensors.torch import save_model

    shape = [1, 3, *detector.size]
    with torch.no_grad():
        converted = ov.convert_model(model.eval(), example_input=torch.zeros(shape), input=[shape])
    write_ir(converted, out, NAMES)
    save_model(model, str(out / WEIGHTS))
