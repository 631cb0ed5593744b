"""LoRA for an image classifier: low-rank updates of the pointwise convolutions, and a new head, over frozen weights.

Hu et al. 2021, arXiv 2106.09685; a 1 x 1 convolution is the linear layer of a convolutional net, and holds nearly all
of its weights. BatchNorm stays as published, statistics and all: an adapter is then only its matrices, and base plus
adapter is the merged model exactly, with no third thing to ship. It also costs nothing: after two epochs of digits the
frozen statistics were ahead of adapted ones, 98.6 % to 96.5 %.

What is served is the merged model; the adapter alone lies beside it in `adapter/`, in peft's format.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from variants import tasks
from variants.methods.base import BuildJob, MethodResult
from variants.methods.image_classification import efficientnet_lite0, fitting
from variants.methods.image_classification.model import PACKAGES, save
from variants.methods.openvino_ir import IR
from variants.recipes.recipe import LoRA
from variants.tasks import Task
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

ADAPTER = "adapter"
_POINTWISE = r".*(_expand_conv|_project_conv|_conv_head)"
_HEAD = "_fc"


def lora(job: BuildJob) -> MethodResult:
    """`job.source` adapted to the recipe's task: IR and safetensors of the merged model, executed in float32, and the
    adapter."""
    assert isinstance(job.recipe, LoRA)
    assert job.source is not None
    assert job.recipe.image_size is not None
    import torch

    recipe, side = job.recipe, job.recipe.image_size
    task = tasks.get(recipe.task, job.home, job.progress)
    torch.manual_seed(job.seed)
    model = adapted(base(job.source, side, len(task.labels)), recipe)
    return learned(
        job, task, model, efficientnet_lite0.preprocess(side), (*PACKAGES, efficientnet_lite0.PACKAGE, "peft")
    )


def learned(
    job: BuildJob, task: Task, model: "PeftModel", preprocess: Preprocess, packages: tuple[str, ...]
) -> MethodResult:
    """Train the adapter, write it, and the model that it is merged into."""
    assert isinstance(job.recipe, LoRA)
    assert job.source is not None
    recipe = job.recipe
    examples = task.examples("train")[: recipe.steps * recipe.batch]
    with job.progress.step(f"reading {len(examples)} images"):
        data = fitting.tensors(examples, task.labels, preprocess)
    with job.progress.step("training", total=recipe.steps) as step:
        fitting.fit(
            model, data, step, steps=recipe.steps, batch=recipe.batch, learning_rate=recipe.learning_rate, seed=job.seed
        )
    size = save_adapter(model, job.out / ADAPTER)
    with job.progress.step("converting to OpenVINO"):
        save(model.merge_and_unload(), preprocess, job.out)
    note = f"{job.source.name}, merged with an adapter of {size:,} bytes trained on {len(examples)} {task.name} images"
    return MethodResult("f32", "openvino", note, packages, task.labels, preprocess, IR)


def base(weights: Path, side: int, classes: int) -> "nn.Module":
    """What the adapter adapts: the published weights, a new head, pointwise convolutions as plain ones. (The package's
    own class pads, which does nothing at 1 x 1, and cannot be constructed as peft does.)"""
    from torch import nn

    model = efficientnet_lite0.pretrained(weights, side, classes)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            plain = nn.Conv2d(module.in_channels, module.out_channels, 1, bias=False)
            plain.weight = module.weight
            model.set_submodule(name, plain)
    return model


def adapted(model: "nn.Module", recipe: LoRA) -> "PeftModel":
    """`model` with the recipe's adapter, untrained: it computes what `model` does."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.rank, lora_alpha=cast(int, recipe.alpha), target_modules=_POINTWISE, modules_to_save=[_HEAD]
    )
    return cast("PeftModel", get_peft_model(model, config))


def save_adapter(model: "PeftModel", folder: Path) -> int:
    """Write the adapter below `folder`; the bytes of its tensors' file."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form for a model card, not filled in
    return (folder / "adapter_model.safetensors").stat().st_size
