"""State dicts as authors publish them: a pickle, of which only tensors are read."""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from variants.errors import SourceError

if TYPE_CHECKING:
    from torch import Tensor, nn


def read(weights: Path, name: str) -> "dict[str, Tensor]":
    """The tensors of a state dict by name, on CPU. SourceError when it is none; `name` is the model it should hold."""
    import torch

    try:
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError) as error:
        raise _no_weights(weights, name, error) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise SourceError(f"{weights.name} holds no {name} weights: no state dict", field="source")
    return tensors


def fill(model: "nn.Module", tensors: "dict[str, Tensor]", weights: Path, name: str) -> None:
    """Load the tensors into `model`, in place, by name. SourceError when names or shapes differ."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise _no_weights(weights, name, error) from error


def _no_weights(weights: Path, name: str, error: Exception) -> SourceError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return SourceError(f"{weights.name} holds no {name} weights: {reason}", field="source")
