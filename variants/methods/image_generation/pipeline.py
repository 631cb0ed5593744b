"""Pipelines of diffusers as variants: as published, and how near a variant's pictures are to its parent's.

They are stored as diffusers stores them. A variant is measured by its pictures, because no label says what a picture
must show: the same prompts and seeds are drawn by the parent and by the variant, and pixels are compared.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from variants.artifacts.loss import Loss
from variants.artifacts.manifest import Precision
from variants.artifacts.store import Artifact
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.recipes.recipe import Baseline
from variants.vision import diffusion_pipeline
from variants.vision.diffusion_pipeline import CHECKER, INDEX, draw, largest, read, smaller

if TYPE_CHECKING:
    from variants.vision.diffusion_pipeline import Floats

PACKAGES = ("torch", "diffusers", "transformers", "safetensors")
PROMPTS = ("a red apple on a white table", "a lighthouse in a storm at night", "an old sailor, oil painting")
STEPS = 8
"""Of each picture that is compared. Early steps are where a variant parts from its parent."""
PRECISIONS: dict[str, Precision] = {"bfloat16": "bf16", "float32": "f32"}
DTYPES = {precision: dtype for dtype, precision in PRECISIONS.items()}


def baseline(job: BuildJob[Baseline]) -> MethodResult:
    """The pipeline in `job.source` in the recipe's dtype, without its safety checker. SourceError where it is none that
    is served, or draws nothing."""
    assert job.source is not None
    with job.progress.step(f"reading {job.source.name}"):
        pipeline = read(job.source, job.recipe.dtype, "source.uri")
    write(job, pipeline)
    index = diffusion_pipeline.read_index(job.source, "source.uri")
    note = (
        f"{index['_class_name']}, weights as published, as {job.recipe.dtype}; draws up to {largest(pipeline)} pixels"
    )
    if diffusion_pipeline.has_part(index, CHECKER):
        note = f"{note}; its safety checker is left out, so nothing looks at what it draws"
    return MethodResult(PRECISIONS[job.recipe.dtype], "huggingface", note, PACKAGES)


def is_pipeline(artifact: Artifact | None) -> bool:
    return artifact is not None and (artifact.model_path / INDEX).is_file()


def dtype_of(parent: Artifact | None) -> str:
    """The dtype of a parent's weights. RecipeError where it is no pipeline, or quantized already."""
    if parent is None or not is_pipeline(parent):
        raise RecipeError("needs a pipeline of diffusers as parent", field="parent", mend="the model's baseline")
    precision = parent.manifest.precision
    if precision not in DTYPES:
        mend = "an f32 or bf16 variant: quantization comes last in a chain"
        raise RecipeError(f"its weights are {precision} already", field="parent", mend=mend)
    return DTYPES[precision]


def of_artifact(parent: Artifact | None, dtype: str | None = None) -> Any:
    """The pipeline of a parent, in its own dtype or in another. RecipeError as for `dtype_of`."""
    own = dtype_of(parent)
    assert parent is not None
    return read(parent.model_path, dtype or own, "parent")


def write(job: BuildJob, pipeline: Any) -> None:
    """Write the pipeline below the job's `out`, after it has drawn a picture. SourceError where that has values that
    are not finite."""
    import numpy as np

    with job.progress.step("checking that it draws"):
        picture = draw(pipeline, "a", 0, smaller(pipeline, diffusion_pipeline.LEAST_SIDE), steps=2)
        if not np.isfinite(picture).all():
            message = "the pipeline draws values that are not finite"
            raise SourceError(message, field="source", mend="check the weights; float32 has a wider range than float16")
    with job.progress.step("writing safetensors"):
        pipeline.save_pretrained(job.out)
        remove_origins(job.out)


def remove_origins(folder: Path) -> None:
    """diffusers writes the path that each part was read from. Without it the same source gives the same bytes."""
    for path in sorted(folder.rglob("*.json")):
        document = json.loads(path.read_bytes())
        if isinstance(document, dict) and document.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def pictures(job: BuildJob, pipeline: Any) -> "list[Floats]":
    """One picture a prompt, with half of the largest picture's sides."""
    size = smaller(pipeline, min(largest(pipeline)) // 2)
    with job.progress.step(f"drawing {len(PROMPTS)} pictures"):
        return [draw(pipeline, prompt, seed, size, STEPS) for seed, prompt in enumerate(PROMPTS)]


def likeness(wanted: "Sequence[Floats]", drawn: "Sequence[Floats]") -> Loss:
    """How near pictures are to the parent's: 1 less the mean absolute difference of pixels from 0 to 1."""
    figures = [1 - float(abs(one - other).mean()) for one, other in zip(wanted, drawn, strict=True)]
    return Loss(measure="likeness", task="fixed prompts", examples=len(figures), parent=1.0, variant=fmean(figures))
