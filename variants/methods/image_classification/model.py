"""Image classifiers as OpenVINO IR: one form for every variant, whatever library the weights came from.

The IR takes `pixels`, float32 [batch, 3, height, width], normalised as the manifest's `preprocess` says. It returns
`logits`, float32 [batch, classes]. Batch is dynamic, height and width are fixed. Weights are stored as trained:
OpenVINO's default, which rounds them to float16, is switched off.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.huggingface import REPORTED, check_weights, labels_of, new_head, reading
from variants.methods.openvino_ir import IR, write_ir
from variants.vision import hub_processor
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers", "openvino", "safetensors")


def of_folder(job: BuildJob, folder: Path) -> MethodResult:
    """A Hugging Face image classifier, with its own labels and preprocessing, as an IR that is executed in
    float32."""
    with job.progress.step(f"reading {folder.name}"):
        model, preprocess = load_huggingface(folder)
    with job.progress.step("converting to OpenVINO"):
        save(model, preprocess, job.out)
    return MethodResult("f32", "openvino", "weights as published", PACKAGES, labels_of(model), preprocess, IR)


def load_huggingface(folder: Path, labels: tuple[str, ...] | None = None) -> "tuple[PreTrainedModel, Preprocess]":
    """The classifier in a Hugging Face folder, in float32, with a new head for `labels` where they are given, and how
    its images are prepared. SourceError where one of them cannot be read, weights are missing, or they do not fit each
    other."""
    import torch
    from transformers import AutoModelForImageClassification

    with reading(folder, "an image classifier"):
        model, report = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, **REPORTED, **new_head(labels)
        )
    check_weights(folder, model, report, has_new_head=labels is not None)
    preprocess = hub_processor.read(folder, "source.uri")
    height, width = preprocess.size
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, height, width))
    except (ValueError, RuntimeError) as error:
        message = (
            f"the image processor in {folder} makes {height} x {width} pixels, which the model does not take: {error}"
        )
        raise SourceError(message, field="source.uri") from error
    return model, preprocess


def load_to_train(folder: Path, labels: tuple[str, ...], side: int) -> "tuple[PreTrainedModel, Preprocess]":
    """`load_huggingface`, for a recipe whose images are `side` pixels wide and high. RecipeError when the model's are
    not."""
    model, preprocess = load_huggingface(folder, labels)
    if preprocess.size != (side, side):
        mend = f"{preprocess.size[0]}: this model's own"
        raise RecipeError(f"{side} pixels do not fit", field="recipe.image_size", mend=mend)
    return model, preprocess


def save(model: "nn.Module", preprocess: Preprocess, out: Path) -> None:
    """Write `model` as IR and as safetensors below `out`. It takes pixels and returns logits, or an object with
    `.logits`."""
    import openvino as ov
    import torch
    from safetensors.torch import save_model

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            result = self.inner(pixels)
            return result if isinstance(result, torch.Tensor) else result.logits

    height, width = preprocess.size
    with torch.no_grad():
        example = torch.zeros(2, 3, height, width)
        converted = ov.convert_model(Logits().eval(), example_input=example, input=[-1, 3, height, width])
    write_ir(converted, out, ("pixels", "logits"))
    save_model(model, str(out / "model.safetensors"))
