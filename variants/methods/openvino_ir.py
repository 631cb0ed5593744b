"""OpenVINO IR files of every model family: written below an artifact, and read from a parent in float32."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from variants.artifacts.store import Artifact
from variants.disk import free_bytes
from variants.errors import RecipeError

if TYPE_CHECKING:
    import openvino as ov


IR = ("model.xml", "model.bin")


def write_ir(model: "ov.Model", out: Path, *, fp16: bool = False) -> None:
    """model.xml and model.bin below `out`, constants in the types they have, or float32 as float16. OSError when there
    is no room for them: OpenVINO's own words are "iostream error", and it removes what it has written."""
    import openvino as ov

    try:
        ov.save_model(model, out / IR[0], compress_to_fp16=fp16)
    except RuntimeError as error:
        needed = sum(node.get_byte_size() for node in model.get_ops() if node.get_type_name() == "Constant")
        if free_bytes(out) >= needed:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error


def read_f32(parent: Artifact | None) -> "tuple[ov.Model, Artifact]":
    """The IR of a parent artifact, and the artifact. RecipeError when there is none, it is in another form, or its
    weights are no longer float32: rounded twice, a variant would not be what its precision says."""
    if parent is None or parent.manifest.format != "openvino":
        raise RecipeError("needs an OpenVINO model as parent", field="parent", mend="name the model's baseline")
    if parent.manifest.precision != "f32":
        mend = "an f32 variant: what narrows the weights comes last in a chain"
        raise RecipeError(f"its weights are {parent.manifest.precision} already", field="parent", mend=mend)
    import openvino as ov

    return ov.Core().read_model(parent.model_path / IR[0]), parent
