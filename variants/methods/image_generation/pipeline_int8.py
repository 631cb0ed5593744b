"""Dynamic int8 for the denoiser of a pipeline: weights in 8 bits, one scale a row, by NNCF, in OpenVINO.

The denoiser takes nearly all of the time and most of the bytes. Its linear layers are computed in 8 bits, with ranges
of the activations that are measured as they come, so no prompt has to stand for all others. OpenVINO has no such kernel
for convolutions: their weights are stored in 8 bits and computed in float32. The text encoder, the decoder of pictures
and the sampler stay in float32, in torch.
"""

import logging
import shutil
from pathlib import Path

from variants.methods.base import BuildJob, MethodResult
from variants.methods.image_generation.pipeline import PACKAGES, likeness, of_artifact, pictures
from variants.methods.openvino_ir import write_ir
from variants.recipes.recipe import Quantize
from variants.vision import denoiser_ir
from variants.vision.diffusion_pipeline import denoiser_of

THREADS = 2
"""For the pictures that are compared."""


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with its denoiser as IR with 8-bit weights. RecipeError where the parent is no pipeline, is quantized
    already, or its denoiser cannot be converted."""
    import nncf

    wanted = pictures(job, of_artifact(job.parent))
    assert job.parent is not None
    pipeline = of_artifact(job.parent, "float32")
    name, denoiser = denoiser_of(pipeline)
    with job.progress.step("converting to OpenVINO"):
        model = denoiser_ir.convert(denoiser, denoiser_ir.recorded(pipeline))
    del pipeline, denoiser
    nncf.set_log_level(logging.ERROR)
    with job.progress.step("rounding weights to 8 bits"):
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        copy_without_weights(job.parent.model_path, job.out, name)
        write_ir(compressed, job.out / name)
    del model, compressed
    drawn = pictures(job, denoiser_ir.read(job.out, "recipe", THREADS))
    note = f"its parent's {name} with weights in 8 bits, a scale a row, on OpenVINO; all else in float32 on torch"
    packages = (*PACKAGES, "openvino", "nncf")
    return MethodResult("int8-dynamic", "huggingface", note, packages, loss=likeness(wanted, drawn))


def copy_without_weights(source: Path, out: Path, name: str) -> None:
    """Copy a pipeline's folder, but of the part `name` the configuration alone."""

    def left_out(folder: str, files: list[str]) -> list[str]:
        return [file for file in files if file != "config.json"] if Path(folder) == source / name else []

    shutil.copytree(source, out, ignore=left_out, dirs_exist_ok=True)
