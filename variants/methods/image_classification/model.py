"""Image classifiers as OpenVINO IR: one form for every variant, whatever library the weights came from.

The IR takes `pixels`, float32 [batch, 3, height, width], already normalised as the manifest's `preprocess` says, and
gives `logits`, float32 [batch, classes]; batch is free, height and width are fixed. Weights are stored as trained:
OpenVINO's own habit of halving them to fp16 is switched off.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR, write_ir
from variants.vision import hub_processor
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers", "openvino", "safetensors")


def of_folder(job: BuildJob, folder: Path) -> MethodResult:
    """A Hugging Face image classifier, labels and preprocessing its own, as an IR that is executed in float32."""
    with job.progress.step(f"reading {folder.name}"):
        model, preprocess = load_huggingface(folder)
    with job.progress.step("converting to OpenVINO"):
        save(model, preprocess, job.out)
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
    labels = tuple(names[index] for index in sorted(names))
    return MethodResult("f32", "openvino", "weights as published", PACKAGES, labels, preprocess, IR)


def load_huggingface(folder: Path, labels: tuple[str, ...] | None = None) -> "tuple[PreTrainedModel, Preprocess]":
    """The classifier in a Hugging Face folder, in float32, with a new head for `labels` where they are given, and how
    its images are prepared. Raises SourceError where one of them cannot be read, or they do not fit each other."""
    import torch
    from transformers import AutoModelForImageClassification

    head: dict[str, Any] = {}
    if labels is not None:
        names = dict(enumerate(labels))
        head = {"num_labels": len(labels), "id2label": names, "label2id": {name: i for i, name in names.items()}}
        head["ignore_mismatched_sizes"] = True
    try:
        model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32, weights_only=True, **head)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"transformers cannot read {folder}: {error}", field="source.uri") from error
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
    """As `load_huggingface`, for a recipe whose images have `side` pixels each way. RecipeError when the model's do
    not."""
    model, preprocess = load_huggingface(folder, labels)
    if preprocess.size != (side, side):
        right = f"{preprocess.size[0]}: this model's own"
        raise RecipeError(f"{side} pixels do not fit", field="recipe.image_size", mend=right)
    return model, preprocess


def save(model: "nn.Module", preprocess: Preprocess, out: Path) -> None:
    """Write `model` (pixels in; logits, or an output with `.logits`, out) as IR and as safetensors below `out`."""
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
    converted.inputs[0].get_tensor().set_names({"pixels"})
    converted.outputs[0].get_tensor().set_names({"logits"})
    write_ir(converted, out)
    save_model(model, str(out / "model.safetensors"))
