"""The methods: which function carries out which recipe for a model of which task.

A method reads its inputs, writes only below `BuildJob.out`, and returns what it made. Its module is imported when it
runs, so planning a build needs no torch. `version` is part of an artifact's key: raise it when a method's output
changes. Plug-ins add methods for recipes of kind `plugin` (`variants.methods.plugin`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal

from variants.errors import RecipeError
from variants.machine import FP8_CAPABILITY
from variants.methods.base import BuildJob, MethodResult
from variants.methods.plugin import checked_options, method_plugin
from variants.methods.quiet import quiet_libraries
from variants.plugins import Plugin
from variants.recipes.recipe import DetectorBaseline, LoRA, PluginRecipe, Prune, Quantize, Recipe, Sparsify, Train

__all__ = ["BuildJob", "Method", "MethodResult", "find"]


@dataclass(frozen=True)
class Method:
    """`name` and `version` go into the key and the manifest. `target` is "module:function", or the function itself.
    `starts_from` is what the job must hold. `capability` is the CUDA compute capability that the method needs, where it
    needs a GPU."""

    name: str
    version: int
    target: str | Callable[[BuildJob], MethodResult]
    starts_from: Literal["source", "parent", "either", "both"] = "either"
    capability: float | None = None

    def run(self, job: BuildJob) -> MethodResult:
        """Import the method's module and carry out the job, with the libraries' output hidden."""
        if not isinstance(self.target, str):
            with quiet_libraries():
                return self.target(job)
        module, _, function = self.target.partition(":")
        with quiet_libraries():
            call: Callable[[BuildJob], MethodResult] = getattr(import_module(f"variants.methods.{module}"), function)
            return call(job)


_METHODS: dict[str, dict[str, Method]] = {
    "text-generation": {
        "baseline": Method("huggingface-causal", 1, "text_generation.baseline:baseline", "source"),
        "quantize w8a8": Method("llmcompressor-w8a8", 2, "text_generation.llmcompressor:w8a8", "parent"),
        "quantize nf4": Method("bitsandbytes-nf4", 2, "text_generation.bitsandbytes:nf4", "parent"),
        "quantize w4a16": Method("llmcompressor-w4a16", 1, "text_generation.llmcompressor:w4a16", "parent"),
        "quantize w8a8-fp8": Method(
            "llmcompressor-fp8", 1, "text_generation.llmcompressor:fp8", "parent", capability=FP8_CAPABILITY
        ),
        "quantize fp16": Method("huggingface-fp16", 1, "text_generation.baseline:fp16", "parent"),
        "quantize llm-int8": Method("bitsandbytes-int8", 1, "text_generation.bitsandbytes:llm_int8", "parent"),
        "sparsify magnitude": Method("torch-magnitude", 1, "text_generation.sparsify:magnitude", "parent"),
        "sparsify wanda": Method("llmcompressor-wanda", 1, "text_generation.sparsify:calibrated", "parent"),
        "sparsify sparsegpt": Method("llmcompressor-sparsegpt", 1, "text_generation.sparsify:calibrated", "parent"),
        "merge": Method("peft-merge", 1, "text_generation.merge:merge", "parent"),
        "prune layers": Method("prune-layers", 1, "text_generation.prune_layers:prune", "parent"),
        "lora": Method("peft-lora", 2, "text_generation.lora:lora", "parent"),
        "published": Method("published-checkpoint", 1, "text_generation.published:published", "source"),
        "adapter": Method("published-adapter", 1, "text_generation.published_adapter:adapter", "both"),
    },
    "image-classification": {
        "baseline": Method("openvino-f32", 2, "image_classification.baseline:baseline", "source"),
        "train": Method("finetune", 1, "image_classification.finetune:train", "source"),
        "train huggingface": Method("finetune-huggingface", 1, "image_classification.finetune:train", "source"),
        "quantize bf16": Method("openvino-bf16", 1, "openvino_bf16:bf16", "parent"),
        "quantize int8": Method("nncf-static-int8", 3, "image_classification.static_int8:int8", "parent"),
        "prune channels": Method("torch-pruning-channels", 1, "image_classification.prune_channels:channels", "parent"),
        "lora efficientnet-lite0": Method("peft-lora-image", 1, "image_classification.lora:lora", "source"),
        "quantize fp16": Method("openvino-fp16", 1, "openvino_fp16:fp16", "parent"),
        "quantize int8-dynamic": Method("nncf-dynamic-int8", 1, "openvino_dynamic_int8:int8", "parent"),
        "sparsify magnitude": Method("openvino-magnitude", 1, "openvino_magnitude:magnitude", "parent"),
        "lora huggingface": Method("peft-lora-huggingface", 2, "image_classification.lora_huggingface:lora", "source"),
        "published": Method("published-openvino", 1, "published.variant:published", "both"),
    },
    "feature-extraction": {
        "baseline": Method("openvino-embedder-f32", 2, "embedding.baseline:baseline", "source"),
        "quantize int8": Method("nncf-embedder-int8", 1, "quantize_encoder:int8", "parent"),
        "published": Method("published-openvino", 1, "published.variant:published", "both"),
    },
    "object-detection": {
        "train-detector": Method("train-detector", 1, "detection.train:train", "source"),
        "baseline-detector": Method("openvino-detector-f32", 1, "detection.onnx:baseline", "source"),
        "baseline-detector huggingface": Method(
            "huggingface-detector-f32", 1, "detection.huggingface:baseline", "source"
        ),
        "quantize bf16": Method("openvino-bf16", 1, "openvino_bf16:bf16", "parent"),
        "quantize int8": Method("nncf-detector-int8", 1, "detection.quantize:int8", "parent"),
        "prune channels": Method("torch-pruning-detector", 1, "detection.prune_channels:channels", "parent"),
        "sparsify magnitude": Method("magnitude-detector", 1, "openvino_magnitude:magnitude", "parent"),
        "published": Method("published-openvino", 1, "published.variant:published", "both"),
    },
    "text-classification": {
        "baseline": Method("openvino-text-f32", 2, "text_classification.model:baseline", "source"),
        "train-text": Method("finetune-text", 1, "text_classification.finetune:train", "source"),
        "quantize bf16": Method("openvino-text-bf16", 1, "openvino_bf16:bf16", "parent"),
        "quantize int8": Method("nncf-text-int8", 1, "quantize_encoder:int8", "parent"),
        "quantize int8-dynamic": Method("nncf-text-int8-dynamic", 1, "openvino_dynamic_int8:int8", "parent"),
        "prune heads": Method("prune-heads", 1, "text_classification.prune_heads:heads", "parent"),
        "sparsify magnitude": Method("magnitude-text", 1, "text_classification.sparsify:magnitude", "parent"),
        "lora": Method("peft-lora-text", 1, "text_classification.lora:lora", "source"),
        "published": Method("published-openvino", 1, "published.variant:published", "both"),
    },
    "image-generation": {
        "baseline": Method("diffusers-pipeline", 1, "image_generation.pipeline:baseline", "source"),
        "diffusion": Method("diffusion", 1, "image_generation.train:train", "source"),
        "quantize bf16": Method("openvino-bf16", 1, "openvino_bf16:bf16", "parent"),
        "quantize int8": Method("nncf-diffusion-int8", 2, "image_generation.quantize:int8", "parent"),
        "quantize int8-dynamic": Method("nncf-pipeline-int8", 1, "image_generation.pipeline_int8:int8", "parent"),
        "prune channels": Method("torch-pruning-diffusion", 1, "image_generation.prune:channels", "parent"),
        "sparsify magnitude": Method("magnitude-diffusion", 1, "image_generation.prune:magnitude", "parent"),
        "adapter": Method("published-pipeline-lora", 1, "image_generation.pipeline_adapter:adapter", "both"),
    },
}
"""By task and then by recipe, as `_name` calls it."""
BUILT_IN = frozenset(method.name for methods in _METHODS.values() for method in methods.values())


def find(task: str, recipe: Recipe, field: str = "recipe") -> Method:
    """The method that carries out `recipe` for a model of `task`. RecipeError, naming `field`, when there is none.
    PluginError for a plug-in that is missing or cannot be used."""
    if isinstance(recipe, PluginRecipe):
        return _find_plugin(task, recipe, field)
    wanted, methods = _name(recipe), _METHODS.get(task)
    if methods and wanted in methods:
        return methods[wanted]
    known = f"for this task: {', '.join(sorted(methods))}" if methods else f"tasks: {', '.join(sorted(_METHODS))}"
    raise RecipeError(f"no method makes {wanted!r} for {task}", field=field, mend=known)


def _find_plugin(task: str, recipe: PluginRecipe, field: str) -> Method:
    """The plug-in's method, its options checked. Its name has the distribution's name and version, and so has the
    key."""
    plugin, added = method_plugin(recipe.method, BUILT_IN)
    if task not in added.tasks:
        mend = f"it is for {', '.join(added.tasks)}"
        raise RecipeError(f"{recipe.method} makes nothing for {task}", field=f"{field}.method", mend=mend)
    options = checked_options(plugin, added, recipe.options, field)
    build = partial(_run_plugin, plugin, added.build, options)
    return Method(plugin.identity, added.version, build, added.starts_from, added.capability)


def _run_plugin(
    plugin: Plugin, build: Callable[[BuildJob, Any], MethodResult], options: Any, job: BuildJob
) -> MethodResult:
    with plugin.called("fails to build"):
        made = build(job, options)
    if not isinstance(made, MethodResult):
        raise plugin.refused(f"gave {type(made).__name__}, no MethodResult")
    return made


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
