"""OpenVINO IR files of every model family: read from a parent in float32, and written below an artifact."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from variants.artifacts.manifest import Precision
from variants.artifacts.store import Artifact
from variants.disk import free_bytes
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.recipes.recipe import Baseline
from variants.vision import diffusion_sampler

if TYPE_CHECKING:
    import openvino as ov


IR = ("model.xml", "model.bin")
TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
"""Carries `model_max_length`, the most tokens of one text."""
_BESIDE_IR = (TOKENIZER, SETTINGS, diffusion_sampler.FILE)


def check_float32(recipe: Baseline, what: str) -> None:
    """RecipeError, beginning with `what`, for a baseline in another dtype."""
    if recipe.dtype != "float32":
        mend = "float32; bfloat16 is a variant of its own: {kind: quantize, scheme: bf16}"
        raise RecipeError(f"{what} is executed in float32", field="recipe.dtype", mend=mend)


def write_ir(model: "ov.Model", out: Path, names: Sequence[str] = (), *, fp16: bool = False) -> None:
    """Write model.xml and model.bin below `out`. Constants keep their types, or with `fp16` are stored as float16.
    `names`, where given, become the names of all inputs and then all outputs. OSError when the disk is full: OpenVINO
    itself says "iostream error" then, and removes what it has written."""
    import openvino as ov

    if names:
        for tensor, name in zip((*model.inputs, *model.outputs), names, strict=True):
            tensor.get_tensor().set_names({name})
    try:
        ov.save_model(model, out / IR[0], compress_to_fp16=fp16)
    except RuntimeError as error:
        needed = sum(node.get_byte_size() for node in model.get_ops() if node.get_type_name() == "Constant")
        if free_bytes(out) >= needed:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out)) from error


def read_f32(parent: Artifact | None) -> "tuple[ov.Model, Artifact]":
    """The IR of a parent artifact, and the artifact. RecipeError when there is none, it is in another format, or its
    weights are not float32: after a second rounding, a variant would not have the precision that it names."""
    if parent is None or parent.manifest.format != "openvino":
        raise RecipeError("needs an OpenVINO model as parent", field="parent", mend="name the model's baseline")
    if parent.manifest.precision != "f32":
        mend = "an f32 variant: quantization comes last in a chain"
        raise RecipeError(f"its weights are {parent.manifest.precision} already", field="parent", mend=mend)
    import openvino as ov

    return ov.Core().read_model(parent.model_path / IR[0]), parent


def write_variant(
    job: BuildJob, model: "ov.Model", precision: Precision, note: str, *packages: str, fp16: bool = False
) -> MethodResult:
    """Write `model` as a variant of the job's parent: its IR, and the tokenizer or sampler that the parent has beside
    its own. Labels, preprocessing and detector are the parent's. `packages` are those used besides openvino."""
    assert job.parent is not None
    write_ir(model, job.out, fp16=fp16)
    beside = tuple(name for name in _BESIDE_IR if (job.parent.model_path / name).is_file())
    for name in beside:
        shutil.copyfile(job.parent.model_path / name, job.out / name)
    manifest = job.parent.manifest
    return MethodResult(
        precision, "openvino", note, ("openvino", *packages), manifest.labels, manifest.preprocess, (*IR, *beside),
        manifest.detector,
    )  # fmt: skip
