"""EfficientNet-Lite0 in torch: with its published weights and a new head, or as an artifact here holds it.

The architecture is fixed but for its widths, and the shapes of the stored tensors are these widths. So a pruned model
can be built again from its weights alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from variants.artifacts.store import Artifact
from variants.errors import MissingDependency, RecipeError
from variants.methods.image_classification import state_dict
from variants.recipes.recipe import LoRA, Prune, Train
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "efficientnet-lite0"
PACKAGE = "efficientnet-lite-pytorch"
WEIGHTS = "model.safetensors"


def preprocess(side: int) -> Preprocess:
    """The preprocessing that the published weights were trained with, at `side` pixels."""
    return Preprocess(size=(side, side), mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))


def pretrained(weights: Path, side: int, classes: int) -> "nn.Module":
    """The model with ImageNet weights from a state dict, and a new head drawn from torch's generator. Only tensors are
    unpickled. SourceError when the file holds something else."""
    from torch import nn

    model = blank(side)
    state_dict.fill(model, state_dict.read(weights, "EfficientNet-Lite0"), weights, "EfficientNet-Lite0")
    model._fc = nn.Linear(cast(nn.Linear, model._fc).in_features, classes)
    return model


def of_artifact(artifact: Artifact | None) -> "nn.Module":
    """The model of an artifact, in evaluation mode. RecipeError when there is none, or it has another architecture."""
    recipe = artifact.manifest.recipe if artifact else None
    known = isinstance(recipe, Prune) or (isinstance(recipe, Train | LoRA) and recipe.architecture == NAME)
    if artifact is None or artifact.manifest.format != "openvino" or not known:
        mend = f"a variant whose recipe trains {NAME}"
        raise RecipeError("needs an EfficientNet-Lite0 as parent", field="parent", mend=mend)
    assert artifact.manifest.preprocess is not None
    return read(artifact.model_path / WEIGHTS, artifact.manifest.preprocess.size[0])


def read(weights: Path, side: int) -> "nn.Module":
    """The model that a safetensors file holds, of any widths, for images of `side` pixels, in evaluation mode."""
    from safetensors.torch import load_file

    tensors = load_file(weights)
    model = blank(side)
    for name, module in model.named_modules():
        if f"{name}.weight" in tensors:
            _resize(module, tensors[f"{name}.weight"])
    model.load_state_dict(tensors)
    return model.eval()


def _resize(module: "nn.Module", weight: "Tensor") -> None:
    """Give a layer the width of its stored weight. Its values are overwritten afterwards."""
    import torch
    from torch import nn

    if isinstance(module, nn.Conv2d):
        module.out_channels = weight.shape[0]
        module.groups = weight.shape[0] if module.groups > 1 else 1  # depthwise, or not grouped at all
        module.in_channels = weight.shape[1] * module.groups
    elif isinstance(module, nn.BatchNorm2d):
        module.__init__(len(weight), module.eps, module.momentum)  # type: ignore[misc]
        return
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
        module.bias = nn.Parameter(torch.empty(len(weight)))
    module.weight = nn.Parameter(torch.empty_like(weight))


def blank(side: int) -> "nn.Module":
    """The model with weights drawn from torch's generator and 1,000 classes, for images of `side` pixels."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        mend = f"pip install {PACKAGE}==0.1.0"
        raise MissingDependency(f"{PACKAGE} is not installed", mend=mend) from error
    return cast("nn.Module", EfficientNet.from_name(NAME, image_size=side))
