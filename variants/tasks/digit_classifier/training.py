"""Trains the digit classifier with torch, seeded, in a few seconds on one thread.

It uses the training split alone. Each batch is shifted by up to two pixels, so the position of a digit has no effect.
"""

from typing import TYPE_CHECKING, Any

from variants.tasks.base import Task
from variants.tasks.digit_classifier.network import SHAPES, TRAINING, pixels

if TYPE_CHECKING:
    import numpy as np


def trained(task: Task) -> "dict[str, np.ndarray[Any, Any]]":
    """The classifier's weights, float32 arrays of `SHAPES`, from the examples of `task`'s training split."""
    import numpy as np
    import torch
    from torch.nn import functional

    examples = task.examples("train")
    images = torch.from_numpy(np.stack([pixels(each.input) for each in examples if isinstance(each.input, bytes)]))
    targets = torch.tensor([task.labels.index(each.label) for each in examples])
    draw = torch.Generator().manual_seed(int(TRAINING["seed"]))
    weights = {name: _start(name, shape, draw) for name, shape in SHAPES.items()}
    batch, epochs = int(TRAINING["batch"]), int(TRAINING["epochs"])
    rounds = len(targets) // batch
    optimizer = torch.optim.AdamW(list(weights.values()), lr=TRAINING["learning_rate"], weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, TRAINING["learning_rate"], total_steps=epochs * rounds)
    for _ in range(epochs):
        for chosen in torch.randperm(len(targets), generator=draw)[: rounds * batch].split(batch):
            shift = torch.randint(-2, 3, (2,), generator=draw).tolist()
            maps = torch.roll(images[chosen], shift, (1, 2))[:, None]
            for layer in ("conv1", "conv2"):
                maps = functional.conv2d(maps, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
                maps = functional.max_pool2d(functional.relu(maps), 2)
            hidden = functional.linear(maps.flatten(1), weights["hidden.weight"], weights["hidden.bias"]).relu()
            scores = functional.linear(hidden, weights["output.weight"], weights["output.bias"])
            loss = functional.cross_entropy(scores, targets[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return {name: weight.detach().numpy() for name, weight in weights.items()}


def _start(name: str, shape: tuple[int, ...], draw: Any) -> Any:
    """The first values: Kaiming's normal distribution for weights, zeros for biases. They require a gradient."""
    import torch

    spread = (2 / torch.Size(shape[1:]).numel()) ** 0.5 if name.endswith("weight") else 0.0
    return (torch.randn(shape, generator=draw) * spread).requires_grad_()
