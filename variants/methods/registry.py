"""Methods: how each recipe is carried out. `find` is the one table from (task, recipe) to a function.

A method reads its inputs and writes only below `BuildJob.out`; it returns what it made. Its module is imported when it
runs, so planning a build needs no torch. `version` is part of an artifact's key: raise it when a method's output
changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.quiet import quiet_libraries
from variants.recipes.recipe import DetectorBaseline, LoRA, Prune, Quantize, Recipe, Sparsify, Train

__all__ = ["BuildJob", "Method", "MethodResult", "find"]


@dataclass(frozen=True)
class Method:
    """`name` and `version` go into the key and the manifest; `target` is "module:function"; `starts_from` is what the
    job must hold; `capability` is the CUDA compute capability that a GPU here must have, where one is needed."""

    name: str
    version: int
    target: str
    starts_from: Literal["source", "parent", "either"] = "either"
    capability: float | None = None

    def run(self, job: BuildJob) -> MethodResult:
        module, _, function = self.target.partition(":")
        with quiet_libraries():
            call: Callable[[BuildJob], MethodResult] = getattr(import_module(f"variants.methods.{module}"), function)
            return call(job)


_TEXT, _IMAGE, _EMBED = "text-generation", "image-classification", "feature-extraction"
_DETECT = "object-detection"
_CLASSIFY = "text-classification"
_DRAW = "image-generation"

_METHODS: dict[tuple[str, str], Method] = {
    (_TEXT, "baseline"): Method("huggingface-causal", 1, "text_generation.baseline:baseline", "source"),
    (_TEXT, "quantize w8a8"): Method("llmcompressor-w8a8", 2, "text_generation.llmcompressor:w8a8", "parent"),
    (_TEXT, "quantize nf4"): Method("bitsandbytes-nf4", 2, "text_generation.bitsandbytes:nf4", "parent"),
    (_TEXT, "quantize w4a16"): Method("llmcompressor-w4a16", 1, "text_generation.llmcompressor:w4a16", "parent"),
    (_TEXT, "quantize w8a8-fp8"): Method(
        "llmcompressor-fp8", 1, "text_generation.llmcompressor:fp8", "parent", capability=8.9
    ),
    (_TEXT, "quantize fp16"): Method("huggingface-fp16", 1, "text_generation.baseline:fp16", "parent"),
    (_TEXT, "quantize llm-int8"): Method("bitsandbytes-int8", 1, "text_generation.bitsandbytes:llm_int8", "parent"),
    (_TEXT, "sparsify magnitude"): Method("torch-magnitude", 1, "text_generation.sparsify:magnitude", "parent"),
    (_TEXT, "sparsify wanda"): Method("llmcompressor-wanda", 1, "text_generation.sparsify:calibrated", "parent"),
    (_TEXT, "sparsify sparsegpt"): Method(
        "llmcompressor-sparsegpt", 1, "text_generation.sparsify:calibrated", "parent"
    ),
    (_TEXT, "merge"): Method("peft-merge", 1, "text_generation.merge:merge", "parent"),
    (_TEXT, "prune layers"): Method("prune-layers", 1, "text_generation.prune_layers:prune", "parent"),
    (_TEXT, "lora"): Method("peft-lora", 2, "text_generation.lora:lora", "parent"),
    (_IMAGE, "baseline"): Method("openvino-f32", 2, "image_classification.baseline:baseline", "source"),
    (_IMAGE, "train"): Method("finetune", 1, "image_classification.finetune:train", "source"),
    (_IMAGE, "train huggingface"): Method("finetune-huggingface", 1, "image_classification.finetune:train", "source"),
    (_IMAGE, "quantize bf16"): Method("openvino-bf16", 1, "openvino_bf16:bf16", "parent"),
    (_IMAGE, "quantize int8"): Method("nncf-static-int8", 3, "image_classification.static_int8:int8", "parent"),
    (_IMAGE, "prune channels"): Method(
        "torch-pruning-channels", 1, "image_classification.prune_channels:channels", "parent"
    ),
    (_IMAGE, "lora efficientnet-lite0"): Method("peft-lora-image", 1, "image_classification.lora:lora", "source"),
    (_IMAGE, "quantize fp16"): Method("openvino-fp16", 1, "openvino_fp16:fp16", "parent"),
    (_IMAGE, "quantize int8-dynamic"): Method(
        "nncf-dynamic-int8", 1, "image_classification.dynamic_int8:int8", "parent"
    ),
    (_IMAGE, "sparsify magnitude"): Method("openvino-magnitude", 1, "openvino_magnitude:magnitude", "parent"),
    (_IMAGE, "lora huggingface"): Method(
        "peft-lora-huggingface", 2, "image_classification.lora_huggingface:lora", "source"
    ),
    (_EMBED, "baseline"): Method("openvino-embedder-f32", 1, "embedding.baseline:baseline", "source"),
    (_EMBED, "quantize int8"): Method("nncf-embedder-int8", 1, "embedding.quantize:int8", "parent"),
    (_DETECT, "train-detector"): Method("train-detector", 1, "detection.train:train", "source"),
    (_DETECT, "baseline-detector"): Method("openvino-detector-f32", 1, "detection.onnx:baseline", "source"),
    (_DETECT, "baseline-detector huggingface"): Method(
        "huggingface-detector-f32", 1, "detection.huggingface:baseline", "source"
    ),
    (_DETECT, "quantize bf16"): Method("openvino-bf16", 1, "openvino_bf16:bf16", "parent"),
    (_DETECT, "quantize int8"): Method("nncf-detector-int8", 1, "detection.quantize:int8", "parent"),
    (_DETECT, "prune channels"): Method("torch-pruning-detector", 1, "detection.prune_channels:channels", "parent"),
    (_DETECT, "sparsify magnitude"): Method("magnitude-detector", 1, "openvino_magnitude:magnitude", "parent"),
    (_CLASSIFY, "baseline"): Method("openvino-text-f32", 1, "text_classification.model:baseline", "source"),
    (_CLASSIFY, "train-text"): Method("finetune-text", 1, "text_classification.finetune:train", "source"),
    (_CLASSIFY, "quantize bf16"): Method("openvino-text-bf16", 1, "text_classification.quantize:bf16", "parent"),
    (_CLASSIFY, "quantize int8"): Method("nncf-text-int8", 1, "text_classification.quantize:int8", "parent"),
    (_CLASSIFY, "quantize int8-dynamic"): Method(
        "nncf-text-int8-dynamic", 1, "text_classification.quantize:int8_dynamic", "parent"
    ),
    (_CLASSIFY, "prune heads"): Method("prune-heads", 1, "text_classification.prune_heads:heads", "parent"),
    (_CLASSIFY, "sparsify magnitude"): Method("magnitude-text", 1, "text_classification.sparsify:magnitude", "parent"),
    (_CLASSIFY, "lora"): Method("peft-lora-text", 1, "text_classification.lora:lora", "source"),
    (_DRAW, "diffusion"): Method("diffusion", 1, "image_generation.train:train", "source"),
    (_DRAW, "quantize bf16"): Method("openvino-bf16", 1, "image_generation.quantize:bf16", "parent"),
    (_DRAW, "quantize int8"): Method("nncf-diffusion-int8", 1, "image_generation.quantize:int8", "parent"),
    (_DRAW, "prune channels"): Method("torch-pruning-diffusion", 1, "image_generation.prune:channels", "parent"),
    (_DRAW, "sparsify magnitude"): Method("magnitude-diffusion", 1, "image_generation.prune:magnitude", "parent"),
}


def find(task: str, recipe: Recipe, field: str = "recipe") -> Method:
    """The method that carries out `recipe` for a model of `task`. RecipeError, naming `field`, when none does yet."""
    wanted = _name(recipe)
    method = _METHODS.get((task, wanted))
    if method is None:
        known = sorted(name for kind, name in _METHODS if kind == task)
        raise RecipeError(
            f"no method makes {wanted!r} for {task}",
            field=field,
            mend=f"for this task: {', '.join(known)}"
            if known
            else f"tasks: {', '.join(sorted({kind for kind, _ in _METHODS}))}",
        )
    return method


def _name(recipe: Recipe) -> str:
    match recipe:
        case Quantize():
            return f"quantize {recipe.scheme}"
        case Prune():
            return f"prune {recipe.structure}"
        case Sparsify():
            return f"sparsify {recipe.algorithm}"
        case DetectorBaseline(detector=None) | Train(architecture="huggingface"):
            return f"{recipe.kind} huggingface"
        case LoRA(architecture=str(architecture)):
            return f"lora {architecture}"
        case _:
            return recipe.kind
