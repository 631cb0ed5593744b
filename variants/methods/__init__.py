"""Methods: how each recipe is carried out. `find` is the one table from (task, recipe) to a function.

A method reads its inputs and writes only below `Job.out`; it returns what it made. Its module is imported when it
runs, so planning a build needs no torch. `version` is part of an artifact's key: raise it when a method's output
changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from variants.errors import RecipeError
from variants.methods.base import Job, Made
from variants.methods.quiet import quiet_libraries
from variants.recipe import Prune, Quantize, Recipe

__all__ = ["Job", "Made", "Method", "find"]


@dataclass(frozen=True)
class Method:
    """`name` and `version` go into the key and the manifest; `target` is "module:function"."""

    name: str
    version: int
    target: str

    def run(self, job: Job) -> Made:
        module, _, function = self.target.partition(":")
        with quiet_libraries():
            call: Callable[[Job], Made] = getattr(import_module(f"variants.methods.{module}"), function)
            return call(job)


_TEXT, _IMAGE = "text-generation", "image-classification"

_METHODS: dict[tuple[str, str], Method] = {
    (_TEXT, "baseline"): Method("huggingface-causal", 1, "causal:baseline"),
    (_TEXT, "quantize w8a8"): Method("llmcompressor-w8a8", 2, "compressed:w8a8"),
    (_TEXT, "quantize w4a16"): Method("llmcompressor-w4a16", 1, "compressed:w4a16"),
    (_TEXT, "quantize nf4"): Method("bitsandbytes-nf4", 2, "nf4:nf4"),
    (_TEXT, "prune layers"): Method("prune-layers", 1, "prune_layers:prune"),
    (_TEXT, "lora"): Method("peft-lora", 1, "lora:lora"),
    (_IMAGE, "baseline"): Method("openvino-f32", 1, "classifier:baseline"),
    (_IMAGE, "train"): Method("finetune", 1, "finetune:train"),
    (_IMAGE, "quantize bf16"): Method("openvino-bf16", 1, "openvino_bf16:bf16"),
    (_IMAGE, "quantize int8"): Method("nncf-static-int8", 1, "nncf_int8:int8"),
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
            mend=f"for this task: {', '.join(known)}" if known else f"tasks: {_TEXT}, {_IMAGE}",
        )
    return method


def _name(recipe: Recipe) -> str:
    if isinstance(recipe, Quantize):
        return f"quantize {recipe.scheme}"
    return f"prune {recipe.structure}" if isinstance(recipe, Prune) else recipe.kind
