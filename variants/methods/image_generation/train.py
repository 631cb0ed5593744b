"""Training a small image generator: a class-conditional diffusion model learns a task's pictures from random weights.

It learns velocities (Salimans & Ho 2022, arXiv 2202.00512) at timesteps that are spread evenly over each batch. The
result is a moving average of the trained weights: without it, pictures depend on the last batches. Training is seeded.
"""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods import training
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first_examples
from variants.methods.image_generation import unet
from variants.progress import Step
from variants.recipes.recipe import Diffusion, Recovery
from variants.recipes.source import fetch
from variants.tasks import Example

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

SIDE = 28
_AVERAGE = 0.99  # what the moving average keeps at each step, after its warm-up


def train(job: BuildJob[Diffusion]) -> MethodResult:
    """The generator as IR, executed in float32, its sampler, and the UNet's own folder. RecipeError where the source is
    not the task's data."""
    recipe = job.recipe
    task, examples = first_examples(job, recipe.task, "train", recipe.examples, "recipe.examples")
    if job.source != fetch(task.sources[0], job.home):
        mend = f"the task's own: {task.sources[0].uri}"
        raise RecipeError(f"a generator is trained from nothing on {task.name}", field="source", mend=mend)
    import torch

    torch.manual_seed(job.seed)
    model = unet.blank(SIDE, recipe.width, recipe.deep_width, len(task.labels))
    with job.progress.step("training", total=recipe.steps) as step:
        fit(model, pictures(examples, task.labels), step, recipe, steps=recipe.steps, seed=job.seed)
    with job.progress.step("converting to OpenVINO"):
        unet.save(model, unet.sampler(SIDE, recipe.sampling_steps), job.out)
        model.save_pretrained(job.out / unet.FOLDER)  # type: ignore[operator]
    note = f"trained here from nothing on {len(examples)} {task.name} training images; draws in {recipe.sampling_steps}"
    return MethodResult("f32", "openvino", f"{note} steps", unet.PACKAGES, task.labels, None, unet.SERVED)


def pictures(examples: list[Example], labels: tuple[str, ...]) -> "tuple[Tensor, Tensor]":
    """Folded pictures, float32 [n, 4, 14, 14] from -1 to 1, and their labels' positions, int64 [n]."""
    import numpy as np
    import torch

    from variants.tasks.digit_classifier.network import pixels

    grey = np.stack([pixels(example.input) for example in examples if isinstance(example.input, bytes)])
    folded = unet.fold(torch.from_numpy(grey)[:, None] * 2 - 1)
    return folded, torch.tensor([labels.index(example.label) for example in examples])


def fit(
    model: "nn.Module",
    data: "tuple[Tensor, Tensor]",
    step: Step,
    recipe: Diffusion | Recovery,
    *,
    steps: int,
    seed: int,
    teacher: "nn.Module | None" = None,
) -> None:
    """AdamW under a one-cycle rate for `steps` batches; changes `model` in place and leaves it in evaluation mode.

    With a `teacher`, half of the loss is the distance from its velocities. RecipeError where there are fewer pictures
    than fill one batch, or training diverges.
    """
    import torch
    from torch.nn import functional

    (images, labels), batch = data, recipe.batch
    training.check_batch(len(labels), batch)
    draw, schedule = torch.Generator().manual_seed(seed), unet.scheduler()
    model.train()
    average = copy.deepcopy(model)

    def losses(here: str) -> "Iterator[Tensor]":
        for count in range(steps):
            chosen = torch.randint(len(labels), (batch,), generator=draw)
            timesteps = stratified_timesteps(batch, draw)
            noise = torch.randn(images[chosen].shape, generator=draw)
            noisy = schedule.add_noise(images[chosen], noise, timesteps)
            wanted = schedule.get_velocity(images[chosen], noise, timesteps)
            noisy, wanted, timesteps, classes = (each.to(here) for each in (noisy, wanted, timesteps, labels[chosen]))
            velocity = model(noisy, timesteps, class_labels=classes, return_dict=False)[0]
            loss = functional.mse_loss(velocity, wanted)
            if teacher is not None:
                with torch.no_grad():
                    teacher_velocity = teacher(noisy, timesteps, class_labels=classes, return_dict=False)[0]
                loss = 0.5 * loss + 0.5 * functional.mse_loss(velocity, teacher_velocity)
            yield loss
            update_average(average, model, min(_AVERAGE, (1 + count) / (10 + count)))

    with training.on_device(model, average, teacher) as here:
        descent = training.one_cycle(model.parameters(), recipe.learning_rate, steps, rise=0.1)
        training.descend(descent, losses(here), step, most=1.0)
    model.load_state_dict(average.state_dict())
    model.eval()


def stratified_timesteps(batch: int, draw: "Generator") -> "Tensor":
    """int64 [batch]: one timestep from each of `batch` equal intervals, so that no batch is all noise."""
    import torch

    places = (torch.arange(batch) + torch.rand(batch, generator=draw)) / batch
    return (places * unet.TRAINED_TIMESTEPS).long()


def update_average(average: "nn.Module", model: "nn.Module", kept: float) -> None:
    """Move the average's weights towards the model's, by the share `1 - kept`."""
    import torch

    with torch.no_grad():
        for mean, new in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(new, 1 - kept)
