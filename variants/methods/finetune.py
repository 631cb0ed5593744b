"""Fine-tuning an image classifier: pretrained weights, a new head, a task's training split, a few epochs on CPU.

Seeded throughout, on one worker: the same seed on the same machine and versions gives the same weights. Shifting each
batch by a few pixels is the only augmentation: what is trained here is small, and time is what it must not take.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from variants import tasks
from variants.errors import MissingDependency, RecipeError, SourceError
from variants.manifest import Preprocess
from variants.methods.base import Job, Made
from variants.methods.classifier import IR, PACKAGES, load_huggingface, preprocess_of, save
from variants.preprocess import pixels_of
from variants.progress import Step
from variants.recipe import Train
from variants.tasks import Example

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHIFT = 14  # one part in this many of the image's side, at most, in each direction


def train(job: Job) -> Made:
    """`job.source` fine-tuned on the recipe's task; IR and safetensors, executed in float32."""
    assert isinstance(job.recipe, Train)
    assert job.source is not None
    import torch

    recipe = job.recipe
    task = tasks.get(recipe.task, job.home, job.progress)
    if task.kind != "image":
        raise RecipeError(f"{task.name} is not an image task", field="recipe.task", mend="mnist")
    torch.manual_seed(job.seed)
    model, preprocess = _pretrained(recipe, job.source, task.labels)
    with job.progress.step(f"reading {recipe.examples} images"):
        pixels, targets = _tensors(task.examples("train", recipe.examples), task.labels, preprocess)
    with job.progress.step("training", total=recipe.epochs * (len(targets) // recipe.batch)) as step:
        _fit(model, pixels, targets, recipe, job.seed, step)
    with job.progress.step("converting to OpenVINO"):
        save(model, preprocess, job.out)
    note = f"{job.source.name}, fine-tuned on {recipe.examples} examples of {task.name}"
    packages = (*PACKAGES, "efficientnet-lite-pytorch") if recipe.architecture != "huggingface" else PACKAGES
    return Made("f32", "openvino", note, packages, task.labels, preprocess, IR)


def _pretrained(recipe: Train, source: Path, labels: tuple[str, ...]) -> "tuple[nn.Module, Preprocess]":
    """The pretrained model with a new head for `labels`, and how its images are prepared."""
    if recipe.architecture == "huggingface":
        model = load_huggingface(source, labels)
        preprocess, _ = preprocess_of(source, model)
        if preprocess.size != (recipe.image_size, recipe.image_size):
            right = f"{preprocess.size[0]}: this model's own"
            raise RecipeError(f"{recipe.image_size} pixels do not fit", field="recipe.image_size", mend=right)
        return model, preprocess
    size = (recipe.image_size, recipe.image_size)
    # The preprocessing that these weights were trained with upstream.
    return _efficientnet_lite0(source, recipe.image_size, len(labels)), Preprocess(
        size=size, mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
    )


def _efficientnet_lite0(weights: Path, side: int, classes: int) -> "nn.Module":
    """EfficientNet-Lite0 with ImageNet weights from a state dict, and a new head. Nothing but tensors is
    unpickled."""
    import pickle

    import torch
    from torch import nn

    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        mend = "pip install efficientnet-lite-pytorch==0.1.0"
        raise MissingDependency("efficientnet-lite-pytorch is not installed", mend=mend) from error
    model = EfficientNet.from_name("efficientnet-lite0", image_size=side)
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(f"{weights.name} holds no EfficientNet-Lite0 weights: {reason}", field="source") from error
    model._fc = torch.nn.Linear(model._fc.in_features, classes)
    return cast(nn.Module, model)


def _tensors(examples: Sequence[Example], labels: tuple[str, ...], preprocess: Preprocess) -> "tuple[Tensor, Tensor]":
    """Images as float32 [n, 3, height, width] and their labels' positions as int64 [n]."""
    import numpy as np
    import torch

    images = np.stack(
        [pixels_of(example.input, preprocess) for example in examples if isinstance(example.input, bytes)]
    )
    positions = [labels.index(example.label) for example in examples]
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last), torch.tensor(positions)


def _fit(model: "nn.Module", pixels: "Tensor", targets: "Tensor", recipe: Train, seed: int, step: Step) -> None:
    """AdamW under a one-cycle rate; changes `model` in place and leaves it in evaluation mode."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    rounds = len(targets) // recipe.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * rounds, pct_start=0.2
    )
    reach = recipe.image_size // _SHIFT
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(targets), generator=draw)
        for count, chosen in enumerate(order[: rounds * recipe.batch].split(recipe.batch)):
            shift = torch.randint(-reach, reach + 1, (2,), generator=draw).tolist()
            result = model(torch.roll(pixels[chosen], shift, (2, 3)))
            logits = result if isinstance(result, torch.Tensor) else result.logits
            loss = torch.nn.functional.cross_entropy(logits, targets[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            step.to(epoch * rounds + count + 1)
    model.eval()
