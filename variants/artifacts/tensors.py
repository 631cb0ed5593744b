"""The names, dtypes and shapes of the tensors in a safetensors file, from its header."""

from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open


class TensorEntry(NamedTuple):
    """`dtype` is safetensors' name of it, such as `F32` or `I8`."""

    dtype: str
    shape: tuple[int, ...]


def tensor_entries(path: Path) -> dict[str, TensorEntry]:
    """By tensor name. Raises ValueError for another kind of file."""
    try:
        with safe_open(path, "numpy") as weights:
            slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
            return {name: TensorEntry(each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no safetensors file: {error}") from error
