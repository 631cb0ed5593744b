"""LoRA adapters of pipelines that somebody else has trained, in the form of diffusers and peft.

An adapter is checked against its base by what it changes: each of its tensors must fit a layer. diffusers would skip
what fits none with a warning, and the pictures would be those of another adapter. The adapter is added to the base's
weights, so that it costs nothing at each step and further recipes can start from it. The sum is computed in float32 and
rounded once.
"""

import re
from pathlib import Path
from typing import Any

from variants.artifacts.tensors import TensorEntry, tensor_entries
from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.image_generation.pipeline import PACKAGES, PRECISIONS, dtype_of, of_artifact, write
from variants.recipes.recipe import PublishedAdapter

WEIGHTS = "pytorch_lora_weights.safetensors"
NAME = "published"
TENSOR = re.compile(r"(?P<part>\w+)\.(?P<layer>[\w.]+)\.(?:lora|lora_linear_layer)[._](?P<which>A|B|down|up)\.weight")
"""`unet.mid_block.to_q.lora_A.weight`, and the former `.lora.down.weight`."""
ALPHA = re.compile(r".+\.alpha")


def adapter(job: BuildJob[PublishedAdapter]) -> MethodResult:
    """The parent with the adapter in `job.source` added to its weights.

    SourceError where the source is no such adapter. RecipeError where it does not fit the parent, or the parent is no
    pipeline or is quantized.
    """
    assert job.source is not None
    import torch

    dtype = dtype_of(job.parent)
    path = weights_of(job.source)
    pipeline = of_artifact(job.parent, "float32")
    with job.progress.step(f"checking {path.name} against its base"):
        parts, rank = check_layers(entries_of(path), pipeline)
    with job.progress.step("adding the adapter"):
        try:
            pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=NAME, use_safetensors=True)
        except (ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise SourceError(f"diffusers cannot load the adapter: {reason}", field="source.uri") from error
        pipeline.fuse_lora(components=parts, adapter_names=[NAME], safe_fusing=True)
        pipeline.unload_lora_weights()
        pipeline.to(dtype=getattr(torch, dtype))
    write(job, pipeline)
    note = f"as published: rank {rank} on {', '.join(parts)}, added to its parent's weights"
    return MethodResult(PRECISIONS[dtype], "huggingface", note, (*PACKAGES, "peft"))


def weights_of(source: Path) -> Path:
    """The adapter's file: the source itself, or the only one of that kind in its folder. SourceError."""
    if source.is_file():
        files = [source] if source.suffix == ".safetensors" else []
    else:
        named = source / WEIGHTS
        files = [named] if named.is_file() else sorted(source.glob("*.safetensors"))
    if len(files) != 1:
        mend = "pickles are not loaded: save the adapter as safetensors"
        raise SourceError(f"{len(files)} files of safetensors, not one {WEIGHTS}", field="source.uri", mend=mend)
    return files[0]


def entries_of(path: Path) -> dict[str, TensorEntry]:
    try:
        return tensor_entries(path)
    except ValueError as error:
        raise SourceError(str(error), field="source.uri") from None


def check_layers(entries: dict[str, TensorEntry], pipeline: Any) -> tuple[list[str], int]:
    """The parts of the pipeline that the adapter changes, sorted, and its largest rank.

    A is [rank, inputs], B is [outputs, rank]; those of convolutions have two more dimensions.
    """
    loadable = getattr(pipeline, "_lora_loadable_modules", ())
    offered = {part: shapes_of(pipeline.components[part]) for part in loadable if pipeline.components.get(part)}
    parts, ranks = set(), set()
    for name, entry in entries.items():
        if ALPHA.fullmatch(name):
            continue
        match = TENSOR.fullmatch(name)
        if match is None or match["part"] not in offered:
            mend = f"plain LoRA of {', '.join(offered)}, as diffusers' save_lora_weights writes it"
            raise RecipeError(f"the adapter's tensor {name} is not served", field="source.uri", mend=mend)
        shapes, layer = offered[match["part"]], match["layer"]
        # transformers 5 has no `text_model` in CLIP's text encoder; diffusers reads adapters of before.
        weight = shapes.get(layer) or shapes.get(layer.removeprefix("text_model."))
        is_first = match["which"] in ("A", "down")
        if weight is None:
            message = f"the adapter changes {match['part']}.{layer}, which its base lacks"
            raise RecipeError(message, field="parent", mend="name the base that it was trained on")
        if len(entry.shape) != len(weight) or (
            entry.shape[1] != weight[1] if is_first else entry.shape[0] != weight[0]
        ):
            message = f"the adapter's {name} is {list(entry.shape)}, and its base's layer is {list(weight)}"
            raise RecipeError(message, field="parent", mend="name the base that it was trained on")
        parts.add(match["part"])
        ranks.add(entry.shape[0] if is_first else entry.shape[1])
    if not parts:
        raise SourceError(f"{WEIGHTS} has no tensor of an adapter", field="source.uri")
    return sorted(parts), max(ranks)


def shapes_of(part: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each layer's weight, by the layer's name."""
    weights = ((name, getattr(module, "weight", None)) for name, module in part.named_modules())
    return {name: tuple(weight.shape) for name, weight in weights if weight is not None}
